"""/rules/…/test and …/backtest: a rule, or a draft of one, tried before it is trusted; the rule engine does it."""

from typing import Any
from uuid import UUID

from aiohttp import web

from api import commands, examples
from api.answers import JobAsked, Trial
from api.auth import needs
from api.errors import ApiError
from api.operations import Operation
from api.people import hash_of
from api.requests import body, path_uuid
from api.responses import as_json
from api.schemas import BacktestGiven, Job, TrialGiven
from api.state import STATE
from api.store import jobs as store
from api.stores import Key


@needs("read")
@Operation(
    "Try a draft on one event",
    body=TrialGiven,
    answer=Trial,
    examples=examples.TRIAL,
    errors={404: "There is no such rule, customer or event."},
)
async def test(request: web.Request, key: Key) -> web.Response:
    """On a customer, on an event that happened, or on one that is given; nothing is done."""
    return as_json(await _ask(request, key, "rule.test", await _trial(request, key)))


@needs("read")
@Operation("Try a rule on one event", body=TrialGiven, answer=Trial, examples=examples.TRIAL)
async def test_saved(request: web.Request, key: Key) -> web.Response:
    rule_id = _rule_id(request)
    return as_json(await _ask(request, key, "rule.test", await _trial(request, key) | {"rule_id": str(rule_id)}))


async def _trial(request: web.Request, key: Key) -> dict[str, Any]:
    given = await body(request, TrialGiven)
    asked = given.model_dump(exclude_none=True)
    if (email := asked.pop("email", None)) is not None:
        asked["customer"] = await hash_of(request, key, email)
    return asked


@needs("write")
@Operation(
    "Try a draft on what happened",
    body=BacktestGiven,
    optional=True,
    answer=JobAsked,
    status=202,
    examples=examples.BACKTEST,
    errors={
        409: "The rule is no longer valid.",
        429: "Three backtests of the store wait or run; or the key asks too often.",
    },
)
async def backtest(request: web.Request, key: Key) -> web.Response:
    """On what happened, as a job whose result says what the rule would have done."""
    return as_json(await _ask(request, key, "rule.backtest", await _backtest(request)), status=202)


@needs("write")
@Operation(
    "Try a rule on what happened",
    body=BacktestGiven,
    optional=True,
    answer=JobAsked,
    status=202,
    examples=examples.BACKTEST_SAVED,
    errors={
        409: "The rule is no longer valid.",
        429: "Three backtests of the store wait or run; or the key asks too often.",
    },
)
async def backtest_saved(request: web.Request, key: Key) -> web.Response:
    asked = {"rule_id": str(_rule_id(request)), **await _backtest(request)}
    return as_json(await _ask(request, key, "rule.backtest", asked), status=202)


async def _backtest(request: web.Request) -> dict[str, Any]:
    return (await body(request, BacktestGiven)).model_dump(exclude_none=True)


@needs("read")
@Operation("Show the last backtest of a rule", answer=Job)
async def last_backtest(request: web.Request, key: Key) -> web.Response:
    """The job that was asked for last, with its result once it is done."""
    job = await store.last_backtest(request.app[STATE].pool, key.store_id, _rule_id(request))
    if job is None:
        raise ApiError(404, "trustlens_backtest_not_found", "There is no backtest of such a rule.")
    return as_json(job)


async def _ask(request: web.Request, key: Key, command: str, asked: dict[str, Any]) -> Any:
    return await commands.ask(request, key, commands.RULE_ENGINE, command, asked)


def _rule_id(request: web.Request) -> UUID:
    rule_id = path_uuid(request, "id")
    if rule_id is None:
        raise ApiError(404, "trustlens_rule_not_found", "Rule not found.")
    return rule_id


ROUTES = [
    web.post("/rules/test", test),
    web.post("/rules/backtest", backtest),
    web.post("/rules/{id}/test", test_saved),
    web.post("/rules/{id}/backtest", backtest_saved),
    web.get("/rules/{id}/backtest", last_backtest),
]
