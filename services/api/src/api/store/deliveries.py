"""Deliveries and their attempts."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from api.schemas import (
    Attempt,
    AttemptListing,
    Delivery,
    DeliveryListing,
    DeliveryShown,
    FollowedAttempt,
)
from api.store.breakers import NEXT_PROBE
from shared.db import Pool

_DELIVERY = (
    "d.id, d.endpoint_id AS webhook_id, d.rule_id, d.event, d.email_hash AS customer, d.sequence, d.status, d.reason,"
    " d.attempts, d.max_attempts, d.last_status_code, d.last_error, d.duration_ms,"
    # A parked one waits for its endpoint: when it will be given up is no next attempt.
    " CASE WHEN d.status <> 'parked' THEN d.due_at END AS next_attempt_at, d.created_at, d.finished_at"
)
_LONGEST_ATTEMPT = "interval '1 minute'"
"""Twice the longest timeout: so long before its end no attempt began."""
_ENDED = "a.at + a.duration_ms * interval '1 millisecond'"


def _matching(store_id: UUID, conditions: Mapping[str, object]) -> tuple[str, list[object]]:
    """WHERE for the conditions (each with $ where its value goes) that have a value, and those values."""
    given = {text: value for text, value in {"d.store_id = $": store_id, **conditions}.items() if value is not None}
    numbered = (text.replace("$", f"${number}") for number, text in enumerate(given, 1))
    return " AND ".join(numbered), list(given.values())


def _wanted(listing: DeliveryListing) -> dict[str, object]:
    return {
        "d.endpoint_id = $": listing.webhook_id,
        "d.event = $": listing.event,
        "d.status = $": listing.status,
        "d.email_hash = $": listing.customer,
    }


def _among(listing: DeliveryListing, given: list[object]) -> tuple[str, list[object]]:
    """What to look through, and the values for it with those given.

    Where ids are wanted, these few first: Postgres takes any range of them for half a percent of all, and would
    rather walk through a store's deliveries by time until it has met a page of them.
    """
    if listing.id is None:
        return "dispatcher.deliveries", given
    first, last = len(given) + 1, len(given) + 2
    few = f"(SELECT * FROM dispatcher.deliveries WHERE id BETWEEN ${first} AND ${last} OFFSET 0)"
    return few, [*given, *listing.id]


async def list_deliveries(pool: Pool, store_id: UUID, listing: DeliveryListing) -> tuple[list[Delivery], int]:
    """Newest first."""
    times = {"d.created_at > $": listing.after, "d.created_at < $": listing.before}
    where, given = _matching(store_id, _wanted(listing) | times)
    among, given = _among(listing, given)
    matching = f"FROM {among} d WHERE {where}"
    rows = await pool.fetch(
        f"SELECT {_DELIVERY} {matching} ORDER BY d.created_at DESC, d.id DESC"
        f" LIMIT ${len(given) + 1} OFFSET ${len(given) + 2}",
        *given,
        listing.page.size,
        listing.page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) {matching}", *given)
    return [Delivery(**row) for row in rows], total


async def find_delivery(pool: Pool, store_id: UUID, delivery_id: UUID) -> Delivery | None:
    row = await pool.fetchrow(
        f"SELECT {_DELIVERY} FROM dispatcher.deliveries d WHERE d.store_id = $1 AND d.id = $2", store_id, delivery_id
    )
    return row and Delivery(**row)


async def show_delivery(pool: Pool, store_id: UUID, delivery_id: UUID, *, personal: bool) -> DeliveryShown | None:
    """With all its attempts. `personal`: and with what was sent and answered."""
    row = await pool.fetchrow(
        f"SELECT {_DELIVERY}, d.recorded_at, sent.body,"
        f" CASE WHEN d.status = 'parked' THEN {NEXT_PROBE} END AS next_probe_at"
        " FROM dispatcher.deliveries d LEFT JOIN dispatcher.bodies sent"
        " ON sent.recorded_at = d.recorded_at AND sent.source_id = d.source_id AND sent.shape = d.shape"
        " LEFT JOIN dispatcher.breakers b ON b.target_id = d.target_id"
        " WHERE d.store_id = $1 AND d.id = $2",
        store_id,
        delivery_id,
    )
    if row is None:
        return None
    made = await pool.fetch(
        "SELECT number, at, status_code, phase, error, duration_ms, address, answer AS body FROM dispatcher.attempts"
        " WHERE recorded_at = $1 AND delivery_id = $2 ORDER BY number",
        row["recorded_at"],
        delivery_id,
    )
    attempts = [Attempt(**{**one, "body": _text(one["body"], shown=personal)}) for one in made]
    return DeliveryShown(**{**row, "attempts": attempts, "body": _text(row["body"], shown=personal)})


def _text(content: bytes | None, *, shown: bool) -> str | None:
    return content.decode("utf-8", "replace") if shown and content is not None else None


async def list_attempts(
    pool: Pool, store_id: UUID, listing: AttemptListing, *, since: datetime
) -> tuple[list[FollowedAttempt], int]:
    """Those that ended after `since`, the last one first."""
    times = {
        # The first two are for the index; what ended in time is said by the others.
        "a.store_id = $": store_id,
        f"a.at > $::timestamptz - {_LONGEST_ATTEMPT}": since,
        f"{_ENDED} > $": since,
        f"{_ENDED} < $": listing.before,
    }
    where, given = _matching(store_id, _wanted(listing) | times)
    among, given = _among(listing, given)
    matching = (
        f"FROM dispatcher.attempts a JOIN {among} d"
        f" ON d.recorded_at = a.recorded_at AND d.id = a.delivery_id WHERE {where}"
    )
    rows = await pool.fetch(
        f"SELECT {_DELIVERY}, d.id AS delivery_id, a.number, a.at, {_ENDED} AS ended_at, a.status_code, a.phase,"
        f" a.error, a.duration_ms AS attempt_ms, a.address {matching}"
        f" ORDER BY ended_at DESC, a.delivery_id, a.number DESC LIMIT ${len(given) + 1} OFFSET ${len(given) + 2}",
        *given,
        listing.page.size,
        listing.page.offset,
    )
    total = await pool.fetchval(f"SELECT count(*) {matching}", *given)
    return [FollowedAttempt(**{**row, "duration_ms": row["attempt_ms"]}) for row in rows], total
