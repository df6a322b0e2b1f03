"""What was decided for each event and rule: firings have rows of their own, what did not fire lies in its event's.

Both are read newest first, each only as far as a page reaches: a store may have millions.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from api.schemas import EvaluatedAction, Evaluation, EvaluationListing
from api.store import actions
from shared.db import Pool
from shared.ids import derived

Row = Mapping[str, Any]

_FIRED = (
    "SELECT e.recorded_at, e.id, e.event_id, e.rule_id, e.rule_version, e.trigger, e.email_hash, e.order_id,"
    " 'fired' AS outcome, e.reason, e.values, e.actions FROM rule_engine.firings e"
)
_NOT_FIRED = (
    "SELECT e.recorded_at, NULL::uuid AS id, e.event_id, r.rule_id, r.rule_version, e.trigger, e.email_hash,"
    " e.order_id, CASE WHEN r.rule_id = ANY(e.failed) THEN 'failed' ELSE 'skipped' END AS outcome, r.reason,"
    " e.seen AS values, '[]'::jsonb AS actions FROM rule_engine.evaluations e,"
    " unnest(e.rule_ids, e.versions, e.reasons) AS r (rule_id, rule_version, reason)"
)
_NEWEST_FIRST = "ORDER BY recorded_at DESC, event_id DESC, rule_id"


async def list_evaluations(
    pool: Pool, store_id: UUID, listing: EvaluationListing, *, rule_id: UUID | None
) -> tuple[list[Evaluation], int]:
    """Newest first, fired and not, each action with what became of it. Without a rule: those of one customer."""
    triggers = await _triggers(pool, rule_id) if rule_id and not listing.customer else [None]
    parts = list(_parts(store_id, listing, rule_id, triggers))
    given = [value for _, values in parts for value in values]
    if not parts:
        return [], 0
    united = " UNION ALL ".join(f"({select} {_NEWEST_FIRST} LIMIT ${len(given) + 1})" for select in _numbered(parts))
    rows = await pool.fetch(
        f"SELECT * FROM ({united}) AS newest {_NEWEST_FIRST} LIMIT ${len(given) + 2} OFFSET ${len(given) + 3}",
        *given,
        listing.page.offset + listing.page.size,
        listing.page.size,
        listing.page.offset,
    )
    counts = " + ".join(f"(SELECT count(*) FROM ({select}) AS part)" for select in _numbered(parts))
    total = await pool.fetchval(f"SELECT {counts}", *given)
    return await _evaluations(pool, rows), total


_Part = tuple[str, Sequence[object]]
"""A statement with $ where its values go, and those."""


def _parts(
    store_id: UUID, listing: EvaluationListing, rule_id: UUID | None, triggers: Sequence[str | None]
) -> Iterator[_Part]:
    """One part for each index that is read in its order: the firings', and for each trigger the events'."""
    shared: dict[str, object] = {
        "e.store_id = $": store_id,
        "e.email_hash = $": listing.customer,
        "e.recorded_at >= $": listing.from_,
        "e.recorded_at < $": listing.to,
    }
    if listing.outcome in {None, "fired"}:
        yield _part(_FIRED, shared | {"e.rule_id = $": rule_id})
    if listing.outcome == "fired":
        return
    failed = {None: "", "failed": " AND r.rule_id = ANY(e.failed)", "skipped": " AND NOT r.rule_id = ANY(e.failed)"}
    for trigger in triggers:
        of_rule = {"e.trigger = $": trigger, "e.rule_ids @> ARRAY[$::uuid]": rule_id, "r.rule_id = $": rule_id}
        select, values = _part(_NOT_FIRED, shared | of_rule)
        yield select + failed[listing.outcome], values


def _part(select: str, conditions: Mapping[str, object]) -> _Part:
    given = {text: value for text, value in conditions.items() if value is not None}
    return f"{select} WHERE {' AND '.join(given)}", list(given.values())


def _numbered(parts: Sequence[_Part]) -> Iterator[str]:
    number = 0
    for select, _ in parts:
        pieces = select.split("$")
        yield pieces[0] + "".join(f"${number + n}{piece}" for n, piece in enumerate(pieces[1:], 1))
        number += len(pieces) - 1


async def _triggers(pool: Pool, rule_id: UUID) -> list[str]:
    """What a rule has ever waited for: mostly one event."""
    rows = await pool.fetch(
        "SELECT trigger FROM rule_engine.rules WHERE id = $1"
        " UNION SELECT rule->>'trigger' FROM rule_engine.versions WHERE rule_id = $1",
        rule_id,
    )
    return [row["trigger"] for row in rows]


async def _evaluations(pool: Pool, rows: Sequence[Row]) -> list[Evaluation]:
    asked = await _fields(pool, [row for row in rows if row["outcome"] != "fired"])
    done = await actions.of_firings(pool, [row for row in rows if row["outcome"] == "fired"])
    return [_evaluation(row, asked.get((row["rule_id"], row["rule_version"])), done.get(row["id"], [])) for row in rows]


async def _fields(pool: Pool, rows: Sequence[Row]) -> dict[tuple[UUID, int], set[str]]:
    """What each rule version's conditions ask for."""
    versions = {(row["rule_id"], row["rule_version"]) for row in rows}
    if not versions:
        return {}
    found = await pool.fetch(
        "SELECT rule_id, version, rule->'conditions' AS conditions FROM rule_engine.versions"
        " JOIN unnest($1::uuid[], $2::int[]) AS k (rule_id, version) USING (rule_id, version)",
        [rule_id for rule_id, _ in versions],
        [version for _, version in versions],
    )
    return {(row["rule_id"], row["version"]): fields_asked(json.loads(row["conditions"] or "null")) for row in found}


def fields_asked(conditions: Any) -> set[str]:
    """The fields of conditions as they are stored, also of such as would not be accepted any more."""
    match conditions:
        case {"field": str(field)}:
            return {field}
        case dict():
            return set[str]().union(*map(fields_asked, conditions.values()))
        case list():
            return set[str]().union(*map(fields_asked, conditions))
        case _:
            return set()


def _evaluation(row: Row, asked: set[str] | None, done: list[EvaluatedAction]) -> Evaluation:
    """An event's row has what all its rules saw. `asked` None: a firing, or the rule was deleted since."""
    seen = json.loads(row["values"], parse_float=Decimal)
    return Evaluation(
        id=row["id"] or derived(row["rule_id"], row["event_id"]),
        rule_id=row["rule_id"],
        rule_version=row["rule_version"],
        event_id=row["event_id"],
        trigger=row["trigger"],
        customer=row["email_hash"],
        order_id=row["order_id"],
        outcome=row["outcome"],
        reason=row["reason"],
        values=seen if asked is None else {name: value for name, value in seen.items() if name in asked},
        actions=done,
        at=row["recorded_at"],
    )
