"""/checkout: the gate, which a store asks while its shopper waits; declined payments; freezes; attacks."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TypeVar
from uuid import UUID

import structlog
from aiohttp import web
from pydantic import BaseModel

from api import gate
from api.auth import needs
from api.checkouts import (
    AttackListing,
    Attacks,
    Authorization,
    DeclinedPayment,
    DeclineTaken,
    FreezeGiven,
    FreezeShown,
    Submission,
)
from api.errors import ApiError, unavailable
from api.gate import Gate, Verdict
from api.ingest.about import about
from api.ingest.intake import Input, NotCommittedError
from api.metrics import GATE
from api.operations import Operation
from api.requests import MAX_OBJECT, body, query, read_body, remember_body
from api.responses import as_json
from api.state import STATE, State
from api.store import gate as store
from api.store.gate import Entry, Freeze, Submitter
from api.stores import Key, StoreSecrets
from shared.db import is_transient
from shared.events import CheckoutAttempt, CheckoutAttemptFact, Decline, DeclineFact
from shared.identity import email_hash
from shared.ids import uuid7

log = structlog.get_logger()

SOURCE = "checkout"
ESCALATION = "escalation"

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


# The gate -------------------------------------------------------------------------------------------------------------


def _opens_on_trouble(handler: Handler) -> Handler:
    """No answer in time is no reason to keep shoppers out: they are let through, and it is said and counted.

    What is given up is not waited for: a connection to a Postgres that hangs takes ten seconds to give up a statement.
    """
    asking: set[asyncio.Future[web.StreamResponse]] = set()

    @wraps(handler)
    async def guarded(request: web.Request) -> web.StreamResponse:
        asked = asyncio.ensure_future(handler(request))
        asking.add(asked)
        asked.add_done_callback(asking.discard)
        asked.add_done_callback(_look_at)
        try:
            return await asyncio.wait_for(asyncio.shield(asked), request.app[STATE].gate_seconds)
        except Exception as error:
            if not isinstance(error, NotCommittedError) and not is_transient(error):
                raise
            log.warning("gate.degraded", error=type(error).__name__)
            GATE.labels("allow", "degraded").inc()
            return as_json(_answer(Verdict(), "", degraded=True))
        finally:
            asked.cancel()

    return guarded


def _look_at(asked: "asyncio.Future[web.StreamResponse]") -> None:
    """Whoever asked has an answer: how one that was given up ends is nobody's business."""
    if not asked.cancelled():
        asked.exception()


@_opens_on_trouble
@needs("ingest", limited=False)
@Operation(
    "Ask whether a checkout may go on",
    body=Submission,
    answer=Authorization,
    examples={
        "a submission": {
            "email": "jane@example.com",
            "ip": "203.0.113.9",
            "user_agent": "Mozilla/5.0",
            "amount": "249.00",
            "currency": "EUR",
            "coupons": ["welcome10"],
        }
    },
)
async def authorize(request: web.Request, key: Key) -> web.Response:
    """To be asked before the payment is tried. One call is one submission of the form."""
    given = await _read(request, Submission)
    state, now = request.app[STATE], datetime.now(UTC)
    secrets, of_store = await _store(state, key)
    who = _submitter(given, secrets, of_store)
    coupons = gate.coupons_of(given.coupons, of_store.settings)
    situation = await store.submit(state.pool, key.store_id, who, of_store.settings, now, coupons=coupons)
    verdict = gate.decide(situation, of_store, now)
    if gate.locks_out(situation.device, of_store.settings, now) and of_store.settings.card_testing:
        await _locked_out(state, key.store_id, Entry("locked", now, who.device, "velocity"), of_store)
    if verdict.reason:
        await _tell_refusal(request, secrets, given, verdict, Entry("refused", now, who.device, verdict.reason))
    GATE.labels(verdict.decision, verdict.reason or "").inc()
    return as_json(_answer(verdict, of_store.settings.message))


def _answer(verdict: Verdict, message: str, *, degraded: bool = False) -> Authorization:
    return Authorization(
        decision=verdict.decision,
        reason=verdict.reason,
        message=message if verdict.decision == "deny" else "",
        would_deny=verdict.would_deny,
        degraded=degraded,
    )


async def _read(request: web.Request, model: type[M]) -> M:
    remember_body(request, await read_body(request, MAX_OBJECT))  # it is kept as it came, where it tells something
    return await body(request, model)


async def _store(state: State, key: Key) -> tuple[StoreSecrets, Gate]:
    secrets, of_store = await state.stores.get(key.store_id), await state.gates.get(key.store_id)
    if secrets is None or of_store is None:
        raise ApiError(404, "trustlens_store_not_found", "There is no such store.")
    return secrets, of_store


def _submitter(given: Submission | DeclinedPayment, secrets: StoreSecrets, of_store: Gate) -> Submitter:
    key = secrets.hash_key
    device = gate.device_of(key, given=given.fingerprint, ip=given.ip, user_agent=given.user_agent)
    return Submitter(
        device,
        gate.address_of(key, given.ip),
        email_hash(key, given.email) if given.email else None,
        gate.is_exempt(of_store.settings, given=given.fingerprint, device=device, ip=given.address),
        tuple(map(bytes.fromhex, given.fingerprints(key))),
    )


async def _tell_refusal(
    request: web.Request, secrets: StoreSecrets, given: Submission, verdict: Verdict, entry: Entry
) -> None:
    """Committed before it is answered: what nobody was told of is not refused. Without an e-mail it is history only."""
    state = request.app[STATE]
    if verdict.decision == "deny":
        await store.record(state.pool, secrets.store_id, [entry])
    if given.email:
        attempt = CheckoutAttempt(
            email=given.email,
            fingerprints=given.fingerprints(secrets.hash_key),
            amount=given.amount,
            currency=given.currency,
            decision=verdict.decision,
            reason=verdict.reason,
        )
        fact = CheckoutAttemptFact(id=uuid7(), store_id=secrets.store_id, occurred_at=entry.at, data=attempt)
        await _accept(request, secrets, fact)


async def _accept(request: web.Request, secrets: StoreSecrets, fact: CheckoutAttemptFact | DeclineFact) -> None:
    raw = await read_body(request, MAX_OBJECT)
    # Each call is one of its own: a shopper who submits the same form twice has submitted it twice.
    digest = hashlib.sha256(SOURCE.encode() + fact.id.bytes).digest()
    await request.app[STATE].intake.accept([Input(SOURCE, fact.type, digest, raw, fact, about(fact, secrets.hash_key))])


@needs("ingest", limited=False)
@Operation(
    "Tell of a declined payment",
    body=DeclinedPayment,
    answer=DeclineTaken,
    examples={
        "a decline": {
            "email": "jane@example.com",
            "ip": "203.0.113.9",
            "user_agent": "Mozilla/5.0",
            "country": "DE",
            "code": "card_declined",
        }
    },
)
async def declined(request: web.Request, key: Key) -> web.Response:
    """Each call is one decline. Without an e-mail it is history only."""
    given = await _read(request, DeclinedPayment)
    state, now = request.app[STATE], datetime.now(UTC)
    secrets, of_store = await _store(state, key)
    who = _submitter(given, secrets, of_store)
    if given.email:
        await _tell_decline(request, secrets, given, now)
    await store.record(state.pool, key.store_id, [Entry("declined", now, who.device, given.code, given.country)])
    return as_json(DeclineTaken(locked_until=await _count(state, key.store_id, who, of_store, now)))


async def _tell_decline(request: web.Request, secrets: StoreSecrets, given: DeclinedPayment, now: datetime) -> None:
    marks = given.fingerprints(secrets.hash_key)
    decline = Decline(email=given.email, fingerprints=marks, code=given.code, country=given.country)
    try:
        await _accept(
            request, secrets, DeclineFact(id=uuid7(), store_id=secrets.store_id, occurred_at=now, data=decline)
        )
    except NotCommittedError:
        raise unavailable() from None


async def _count(state: State, store_id: UUID, who: Submitter, of_store: Gate, now: datetime) -> datetime | None:
    """Until when its device is locked out."""
    if who.device is None or who.is_exempt or not of_store.settings.card_testing:
        return None
    counted = await store.decline(state.pool, store_id, who.device, of_store.settings, now)
    if counted.began:
        await _locked_out(state, store_id, Entry("locked", now, who.device, "declines"), of_store)
    return counted.locked_until


async def _locked_out(state: State, store_id: UUID, entry: Entry, of_store: Gate) -> None:
    """Written down; the third device within ten minutes freezes the checkout for everybody."""
    await store.record(state.pool, store_id, [entry])
    log.info("gate.locked_out", store=str(store_id), reason=entry.detail)
    if not of_store.settings.escalation:
        return
    attack = await store.read_attack(state.pool, store_id, entry.at)
    if gate.should_freeze(attack, of_store.settings):
        reason = f"{attack.locked_devices} devices were locked out within ten minutes"
        wanted = Freeze(entry.at, entry.at + of_store.settings.freeze, reason, ESCALATION)
        await _freeze(state, store_id, wanted, over=False)


# Freezes --------------------------------------------------------------------------------------------------------------


async def _freeze(state: State, store_id: UUID, wanted: Freeze, *, over: bool) -> None:
    if await store.freeze(state.pool, store_id, wanted, over=over):
        await store.record(state.pool, store_id, [Entry("frozen", wanted.frozen_at, detail=wanted.reason)])
        log.warning("gate.frozen", store=str(store_id), actor=wanted.actor, until=wanted.frozen_until.isoformat())


@needs("read")
@Operation("Show whether the checkout is frozen", answer=FreezeShown)
async def show_freeze(request: web.Request, key: Key) -> web.Response:
    found = await store.find_freeze(request.app[STATE].pool, key.store_id)
    return as_json(_shown(found, datetime.now(UTC)))


@needs("write")
@Operation("Freeze the checkout for everybody", body=FreezeGiven, optional=True, answer=FreezeShown)
async def freeze(request: web.Request, key: Key) -> web.Response:
    """From now on, also in place of a freeze that is in force: so it is made longer, or shorter."""
    given = await body(request, FreezeGiven)
    state, now = request.app[STATE], datetime.now(UTC)
    _, of_store = await _store(state, key)
    length = of_store.settings.freeze if given.minutes is None else timedelta(minutes=given.minutes)
    wanted = Freeze(now, now + length, given.reason, f"key:{key.prefix}")
    await _freeze(state, key.store_id, wanted, over=True)
    return as_json(_shown(wanted, now))


@needs("write")
@Operation("End a freeze", status=204)
async def unfreeze(request: web.Request, key: Key) -> web.Response:
    """Also where there is none. Lockouts from before it do not bring another."""
    if await store.unfreeze(request.app[STATE].pool, key.store_id, datetime.now(UTC)):
        log.info("gate.unfrozen", store=str(key.store_id), actor=f"key:{key.prefix}")
    return web.Response(status=204)


def _shown(found: Freeze | None, now: datetime) -> FreezeShown:
    if found is None or found.frozen_until <= now:
        return FreezeShown(frozen=False)
    return FreezeShown(
        frozen=True,
        frozen_at=found.frozen_at,
        frozen_until=found.frozen_until,
        reason=found.reason,
        by=found.actor,
    )


# Attacks --------------------------------------------------------------------------------------------------------------


@needs("read")
@Operation("Show what was tried at the checkout", query=AttackListing, answer=Attacks)
async def attacks(request: web.Request, key: Key) -> web.Response:
    now = datetime.now(UTC)
    since = now - timedelta(hours=query(request, AttackListing).hours)
    pool = request.app[STATE].pool
    history = await store.read_history(pool, key.store_id, since)
    frozen = _shown(await store.find_freeze(pool, key.store_id), now)
    return as_json(Attacks.model_validate({"since": since, "frozen_until": frozen.frozen_until, **history}))


ROUTES: Sequence[web.RouteDef] = [
    web.post("/checkout/authorize", authorize),
    web.post("/checkout/declined", declined),
    web.get("/checkout/freeze", show_freeze),
    web.post("/checkout/freeze", freeze),
    web.delete("/checkout/freeze", unfreeze),
    web.get("/checkout/attacks", attacks),
]
