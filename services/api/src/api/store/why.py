"""What is known of a rule and a customer, for whoever asks why it did not fire."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from api.schemas import Evaluation, EvaluationListing, Rule
from api.store.customers import customer_exists
from api.store.evaluations import list_evaluations
from api.why import LATELY, SHOWN, Case, Happened, Looked, Version
from shared.db import Pool


async def read_case(pool: Pool, store_id: UUID, rule: Rule, email_hash: str, now: datetime) -> Case:
    listing = EvaluationListing(customer=email_hash, per_page=SHOWN)
    evaluations, _ = await list_evaluations(pool, store_id, listing, rule_id=rule.id)
    return Case(
        trigger=rule.trigger,
        mode=rule.mode,
        versions=await _versions(pool, rule.id),
        evaluations=[_looked(evaluation) for evaluation in evaluations],
        events=await _events(pool, store_id, email_hash, rule.trigger, since=now - LATELY),
        known=await customer_exists(pool, store_id, email_hash),
        any_event=await _any_event(pool, store_id, email_hash),
        reached=await _reached(pool, store_id, rule.trigger),
    )


def _looked(evaluation: Evaluation) -> Looked:
    return Looked(
        event_id=evaluation.event_id,
        trigger=evaluation.trigger,
        at=evaluation.at,
        outcome=evaluation.outcome,
        reason=evaluation.reason,
        version=evaluation.rule_version,
        values=evaluation.values,
        actions=evaluation.actions,
    )


async def _versions(pool: Pool, rule_id: UUID) -> Sequence[Version]:
    rows = await pool.fetch(
        "SELECT saved_at, rule->>'trigger' AS trigger, rule->>'mode' AS mode FROM rule_engine.versions"
        " WHERE rule_id = $1 ORDER BY version",
        rule_id,
    )
    return [Version(**row) for row in rows]


async def _events(pool: Pool, store_id: UUID, email_hash: str, trigger: str, *, since: datetime) -> Sequence[Happened]:
    """The newest. What was decided for a week is kept as long as that week's partition is there."""
    rows = await pool.fetch(
        "SELECT e.id, e.recorded_at, v.event_id IS NOT NULL AS evaluated, to_regclass('rule_engine.evaluations'"
        " || to_char(e.recorded_at AT TIME ZONE 'UTC', '_IYYY\"w\"IW')) IS NOT NULL AS kept"
        " FROM scorer.events e LEFT JOIN rule_engine.evaluations v"
        " ON v.recorded_at = e.recorded_at AND v.event_id = e.id"
        " WHERE e.store_id = $1 AND e.email_hash = $2 AND e.type = $3 AND e.recorded_at > $4"
        " ORDER BY e.sequence DESC LIMIT $5",
        store_id,
        email_hash,
        trigger,
        since,
        SHOWN,
    )
    return [Happened(**row) for row in rows]


async def _any_event(pool: Pool, store_id: UUID, email_hash: str) -> bool:
    found = await pool.fetchval(
        "SELECT EXISTS (SELECT FROM scorer.events WHERE store_id = $1 AND email_hash = $2)", store_id, email_hash
    )
    return bool(found)


async def _reached(pool: Pool, store_id: UUID, trigger: str) -> datetime | None:
    """The newest event of this kind that the rule engine has come to."""
    reached: datetime | None = await pool.fetchval(
        "SELECT max(recorded_at) FROM rule_engine.evaluations WHERE store_id = $1 AND trigger = $2", store_id, trigger
    )
    return reached
