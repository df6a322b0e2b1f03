"""Rules tried before they are trusted: on one event at once, and on what happened, as a job. Neither acts."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, ValidationError

from rule_engine import erasure, tryout
from rule_engine.backtest import Backtest
from rule_engine.happened import Happened, Kept, Place, reader
from rule_engine.rules import READ_ONLY, NewRule, Rule, rule_fields, rule_of
from rule_engine.store import backtests, rules, shops
from rule_engine.store.backtests import Span
from rule_engine.tryout import Tried
from rule_engine.validate import validate
from shared import jobs
from shared.commands import BackgroundHandler, Command, Handler, RefusedError, invalid, parse
from shared.db import Connection, Pool
from shared.events import Event, EventData, Snapshot
from shared.ids import uuid7
from shared.jobs import Found, Job
from shared.jsontext import api_time, dumps
from shared.mistakes import by_path, mistakes
from shared.outbox import Transaction
from shared.targets import Reach

BACKTEST = "backtest"
PAGE = 2000
"""Events read at once: 2 MB or so."""
STEP = 10
"""Events played between two looks at what else there is to do: a fifth of a millisecond. Measured: with 40, live
events took twice as long beside a backtest; with 10 as long as without one, for a tenth of its speed."""
UNFINISHED = 3
"""Backtests of a store that may wait or run."""
DAYS = 30
MOST_DAYS = 90
"""So long events are kept, unless a setting says otherwise."""
NOBODY = "0" * 64
"""The customer of an event that is given without one's hash."""


def _as_shown(given: Any) -> Any:
    """A draft may be a rule as it is shown, edited."""
    return {name: value for name, value in given.items() if name not in READ_ONLY} if isinstance(given, dict) else given


class _Asked(BaseModel):
    """Of a saved rule, or of a draft; of a draft of a saved rule, where both are named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule_id: UUID | None = None
    rule: Annotated[NewRule, BeforeValidator(_as_shown)] | None = None


class AskedTest(_Asked):
    customer: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    event_id: UUID | None = None
    event: Mapping[str, Any] | None = None


class AskedBacktest(_Asked):
    days: Annotated[StrictInt, Field(ge=1, le=MOST_DAYS)] = DAYS


class _GivenEvent(BaseModel):
    customer: Snapshot
    data: EventData = EventData()


@dataclass(frozen=True, slots=True)
class _Tested:
    """A rule to try, as its owner says it."""

    fields: Mapping[str, Any]
    rule_id: UUID | None
    """None: a draft of no rule that there is."""
    version: int | None
    """None: a draft."""

    @property
    def rule(self) -> Rule:
        return rule_of(self.rule_id or UUID(int=0), self.version or 0, self.fields)


async def _rule(connection: Connection | Pool, store_id: UUID, asked: _Asked) -> _Tested:
    """
    Raises:
        RefusedError: 404, there is no such rule; 400, none is named, or the draft could not be saved.
    """
    saved = await rules.find_rule(connection, store_id, asked.rule_id) if asked.rule_id else None
    if asked.rule_id and not saved:
        raise RefusedError(404, "trustlens_rule_not_found", "Rule not found.")
    if asked.rule:
        report = validate(asked.rule, await shops.shop(connection, store_id))
        if report.errors:
            raise invalid({f"rule.{path}": why for path, why in by_path(report.errors).items()})
        return _Tested(rule_fields(asked.rule, {}), asked.rule_id, None)
    if not saved:
        raise invalid({"rule": "is missing"})
    return _Tested(saved.fields, saved.id, saved.version)


# On one event ---------------------------------------------------------------------------------------------------------


def background(pool: Pool, reach: Reach) -> dict[str, BackgroundHandler]:
    """What only reads: outside of a transaction, and nothing is kept of it."""

    async def test(command: Command) -> Any:
        asked: AskedTest = parse(AskedTest, command.data, context=reach)
        tested = await _rule(pool, command.store_id, asked)
        now = datetime.now(UTC)
        on = await _standing(pool, tested, await _event(pool, command.store_id, tested.rule, asked, now), now)
        told = tryout.tried(tested.rule, tested.fields["actions"], on, now)
        shown = {"rule_id": tested.rule_id and str(tested.rule_id), "rule_version": tested.version, **told}
        return json.loads(dumps(shown))

    return {"rule.test": test}


async def _event(pool: Pool, store_id: UUID, rule: Rule, asked: AskedTest, now: datetime) -> Tried:
    """
    Raises:
        RefusedError: 400 or 404, there is nothing to try it on.
    """
    if asked.event is not None:
        parsed = _given(asked.event)
        event = tryout.given(
            parsed.customer, parsed.data, store_id=store_id, event_id=uuid7(), trigger=rule.trigger, now=now
        )
        return Tried(event, "given")
    if asked.event_id:
        return Tried(await _stored(pool, store_id, rule, asked.event_id, asked.customer), "stored")
    if asked.customer:
        return await _of_customer(pool, store_id, rule, asked.customer, now)
    raise invalid({"customer": "is missing: name a customer, an event_id, or give an event"})


def _given(event: Mapping[str, Any]) -> _GivenEvent:
    customer = event.get("customer")
    known = {**event, "customer": {"email_hash": NOBODY, **customer}} if isinstance(customer, dict) else event
    try:
        return _GivenEvent.model_validate(known, extra="forbid")
    except ValidationError as error:
        raise invalid({f"event.{path}": why for path, why in mistakes(error).items()}) from None


async def _stored(pool: Pool, store_id: UUID, rule: Rule, event_id: UUID, customer: str | None) -> Event:
    found = await backtests.event(pool, store_id, event_id, customer)
    if found is None:
        raise RefusedError(404, "trustlens_event_not_found", "Event not found.")
    if found.type != rule.trigger:
        raise invalid({"event_id": f"is of a {found.type}, and the rule waits for {rule.trigger}"})
    return found


async def _of_customer(pool: Pool, store_id: UUID, rule: Rule, email_hash: str, now: datetime) -> Tried:
    """Their newest event of that kind, or one as it might be."""
    if newest := await backtests.newest(pool, store_id, email_hash, rule.trigger):
        return Tried(newest, "stored")
    customer = await backtests.customer(pool, store_id, email_hash, now)
    if customer is None:
        raise RefusedError(404, "trustlens_customer_not_found", "Customer not found.")
    order = await backtests.newest_order(pool, store_id, email_hash)
    event = tryout.made_up(customer, order, store_id=store_id, event_id=uuid7(), trigger=rule.trigger, now=now)
    return Tried(event, "made_up")


async def _standing(pool: Pool, tested: _Tested, on: Tried, now: datetime) -> Tried:
    if tested.rule_id is None:
        return on
    last = await backtests.last_fired(pool, (tested.rule_id, on.event.customer.email_hash))
    hour = now.replace(minute=0, second=0, microsecond=0)
    return replace(on, last=last, this_hour=await backtests.fired_in_hour(pool, (tested.rule_id, hour)))


# On what happened -----------------------------------------------------------------------------------------------------


def handlers(reach: Reach) -> dict[str, Handler]:
    async def backtest(transaction: Transaction, command: Command) -> Any:
        asked: AskedBacktest = parse(AskedBacktest, command.data, context=reach)
        tested = await _rule(transaction.connection, command.store_id, asked)
        return await _queue(transaction.connection, command.store_id, tested, asked.days)

    return {"rule.backtest": backtest, "job.cancel": _cancel}


async def _queue(connection: Connection, store_id: UUID, tested: _Tested, days: int) -> dict[str, str]:
    if tested.rule.fault:
        raise RefusedError(409, "trustlens_rule_invalid", f"The rule is no longer valid: {tested.rule.fault}.")
    if await backtests.unfinished(connection, store_id) >= UNFINISHED:
        why = f"{UNFINISHED} backtests of this store wait or run. Let one of them end, or cancel it."
        raise RefusedError(429, "trustlens_too_many_backtests", why)
    now = datetime.now(UTC)
    asked = _Queued(
        rule_id=tested.rule_id,
        version=tested.version,
        # Whom its actions address is of no use here.
        rule={**tested.fields, "actions": []},
        days=days,
        begin=now - timedelta(days=days),
        end=now,
    )
    job = Job(uuid7(), store_id, BACKTEST, params=asked.model_dump(mode="json"))
    return {"job_id": str(await jobs.queue(connection, "rule_engine", job, total=None))}


class _OfJob(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: UUID


async def _cancel(transaction: Transaction, command: Command) -> Any:
    job_id = parse(_OfJob, command.data).job_id
    if not await jobs.cancel(transaction.connection, "rule_engine", command.store_id, job_id):
        raise RefusedError(404, "trustlens_job_not_found", "There is no such job.")
    return {"job_id": str(job_id)}


class _Queued(BaseModel):
    """A backtest as its job has it."""

    rule_id: UUID | None
    version: int | None
    rule: Mapping[str, Any]
    days: int
    begin: AwareDatetime
    end: AwareDatetime

    @property
    def tested(self) -> _Tested:
        return _Tested(self.rule, self.rule_id, self.version)


@dataclass(slots=True)
class _Run:
    """A backtest under way. Its id is in the job's position, so that no two processes ever seem to stand at one."""

    id: UUID
    backtest: Backtest
    read: Callable[[Kept], Happened]
    total: int
    place: Place | None = None


async def page(transaction: Transaction, job: Job, *, limit: int = PAGE) -> Job | Found:
    """The next events played. What they came to is in memory: a job that is taken over begins again."""
    connection, asked = transaction.connection, _Queued.model_validate(job.params)
    span = Span(job.store_id, asked.rule["trigger"], asked.begin, asked.end)
    run: _Run = job.carried or _begun(asked, await backtests.count(connection, span))
    found = await backtests.events(connection, span, run.place, limit)
    if not found:
        result = _result(asked, run.backtest)
        samples = await erasure.shown(connection, job.store_id, result["samples"], since=asked.end)
        return Found({**result, "samples": samples})
    run.place = found[-1].place
    await _play(connection, run, asked.rule_id, found)
    done = run.backtest.events
    return replace(job, done=done, total=run.total, position=f"{run.id}/{done}", carried=run)


def _begun(asked: _Queued, total: int) -> _Run:
    rule = asked.tested.rule
    return _Run(uuid7(), Backtest(rule), reader(rule.fields), total)


async def _play(connection: Connection, run: _Run, rule_id: UUID | None, found: Sequence[Kept]) -> None:
    first, last = found[0].place[0], found[-1].place[0]
    live = await backtests.fired(connection, rule_id, first, last) if rule_id else set()
    for n in range(0, len(found), STEP):
        run.backtest.play([run.read(kept) for kept in found[n : n + STEP]], live)
        await asyncio.sleep(0)


def _result(asked: _Queued, backtest: Backtest) -> dict[str, Any]:
    return {
        "rule": {
            "id": asked.rule_id and str(asked.rule_id),
            "version": asked.version,
            "name": asked.rule["name"],
            "trigger": asked.rule["trigger"],
        },
        "days": asked.days,
        "from": api_time(asked.begin),
        "to": api_time(asked.end),
        **backtest.result(compared=asked.rule_id is not None),
    }
