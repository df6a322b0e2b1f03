"""/rules: automation rules and why they did or did not fire; the rule engine owns them."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from api import commands, examples, why
from api.answers import Installed, RuleReport, RuleSchema, SavedRule, Starter
from api.auth import needs
from api.errors import ApiError, invalid
from api.operations import Operation, Owned
from api.pages import as_page
from api.people import customer_asked
from api.requests import path_uuid, query, read_object, read_optional
from api.responses import as_json
from api.schemas import (
    Evaluation,
    EvaluationListing,
    Listing,
    OfCustomer,
    Rule,
    RuleListing,
    RuleVersion,
    Why,
    WhyEvent,
)
from api.state import STATE
from api.store import evaluations as store_evaluations
from api.store import rules as store
from api.store import why as store_why
from api.stores import Key


@needs("read")
@Operation("List rules", query=RuleListing, answer=list[Rule])
async def index(request: web.Request, key: Key) -> web.Response:
    listing = query(request, RuleListing)
    rules, total = await store.list_rules(request.app[STATE].pool, key.store_id, listing)
    return as_page(request, rules, page=listing.page, total=total)


@needs("read")
@Operation("Show a rule", answer=Rule)
async def show(request: web.Request, key: Key) -> web.Response:
    return as_json(await _find(request, key))


@needs("read")
@Operation("List what a rule was", query=Listing, answer=list[RuleVersion])
async def versions(request: web.Request, key: Key) -> web.Response:
    page = query(request, Listing).page
    rule = await _find(request, key)
    found, total = await store.list_versions(request.app[STATE].pool, rule.id, page)
    return as_page(request, found, page=page, total=total)


# Saving ---------------------------------------------------------------------------------------------------------------


@needs("write")
@Operation(
    "Make a rule",
    body=Owned("NewRule"),
    answer=SavedRule,
    status=201,
    examples=examples.RULE,
    errors={409: "The store has as many rules as it may have."},
)
async def create(request: web.Request, key: Key) -> web.Response:
    """Secrets that were generated are in this answer and in no other."""
    given = await read_object(request)
    return as_json(await _command(request, key, "rule.create", given), status=201)


@needs("write")
@Operation(
    "Replace a rule",
    body=Owned("ShownRule"),
    answer=SavedRule,
    examples=examples.RULE,
    errors={409: "The body is of another version: somebody changed the rule."},
)
async def replace(request: web.Request, key: Key) -> web.Response:
    """All of the rule; what is not given goes back to its default."""
    return as_json(await _ask(request, key, "rule.update", {"rule": await read_object(request)}))


@needs("write")
@Operation(
    "Change a rule",
    body=Owned("RuleChange"),
    answer=SavedRule,
    examples=examples.RULE_CHANGE,
    errors={409: "The body is of another version: somebody changed the rule."},
)
async def update(request: web.Request, key: Key) -> web.Response:
    """The fields that are given; the others stay."""
    return as_json(await _ask(request, key, "rule.patch", {"fields": await read_object(request)}))


@needs("write")
@Operation("Bring a version back", body=Owned("RuleRestoration"), answer=SavedRule, examples=examples.RESTORATION)
async def restore(request: web.Request, key: Key) -> web.Response:
    """An older version once more, as a new one."""
    return as_json(await _ask(request, key, "rule.restore", await read_object(request)))


@needs("write")
@Operation("Delete a rule", status=204)
async def delete(request: web.Request, key: Key) -> web.Response:
    await _ask(request, key, "rule.delete", {})
    return web.Response(status=204)


# Before saving --------------------------------------------------------------------------------------------------------


@needs("read")
@Operation("Say what is wrong with a draft", body=Owned("AnyRule"), answer=RuleReport, examples=examples.RULE)
async def validate(request: web.Request, key: Key) -> web.Response:
    """What is wrong with a draft, and what is doubtful; nothing is saved."""
    return as_json(await _command(request, key, "rule.validate", {"rule": await read_object(request)}))


@needs("read")
@Operation("All that a form for rules needs", answer=RuleSchema)
async def schema(request: web.Request, key: Key) -> web.Response:
    return as_json(await _command(request, key, "rule.schema", {}))


@needs("read")
@Operation("List rules to start from", answer=list[Starter])
async def starters(request: web.Request, key: Key) -> web.Response:
    return as_json(await _command(request, key, "rule.starters", {}))


@needs("write")
@Operation(
    "Make rules from starters",
    body=Owned("StartersChosen"),
    optional=True,
    answer=Installed,
    status=201,
    examples=examples.STARTERS,
    errors={409: "The store has as many rules as it may have."},
)
async def install(request: web.Request, key: Key) -> web.Response:
    return as_json(await _command(request, key, "rule.install", await read_optional(request)), status=201)


# Afterwards -----------------------------------------------------------------------------------------------------------


@needs("read")
@Operation("List what a rule made of events", query=EvaluationListing, answer=list[Evaluation])
async def evaluations(request: web.Request, key: Key) -> web.Response:
    listing = await _evaluation_listing(request, key)
    rule = await _find(request, key)
    pool = request.app[STATE].pool
    found, total = await store_evaluations.list_evaluations(pool, key.store_id, listing, rule_id=rule.id)
    return as_page(request, found, page=listing.page, total=total)


@needs("read")
@Operation("List what all rules made of a customer's events", query=EvaluationListing, answer=list[Evaluation])
async def customer_evaluations(request: web.Request, key: Key) -> web.Response:
    """Of all rules, also of those that were deleted since."""
    listing = await _evaluation_listing(request, key)
    if listing.customer is None:
        raise invalid({"customer": "must be given, or email"})
    pool = request.app[STATE].pool
    found, total = await store_evaluations.list_evaluations(pool, key.store_id, listing, rule_id=None)
    return as_page(request, found, page=listing.page, total=total)


async def _evaluation_listing(request: web.Request, key: Key) -> EvaluationListing:
    listing = query(request, EvaluationListing)
    return listing.model_copy(update={"customer": await customer_asked(request, key, listing)})


@needs("read")
@Operation("Say why a rule did, or did not, fire for a customer", query=OfCustomer, answer=Why)
async def why_not(request: web.Request, key: Key) -> web.Response:
    """Why the rule did, or did not, fire for a customer."""
    rule = await _find(request, key)
    customer = await customer_asked(request, key, query(request, OfCustomer))
    if customer is None:
        raise invalid({"email": "must be given, or customer"})
    now = datetime.now(UTC)
    case = await store_why.read_case(request.app[STATE].pool, key.store_id, rule, customer, now)
    answer, events = why.explain(case, now)
    told = [WhyEvent.model_validate(event, from_attributes=True) for event in events]
    return as_json(Why(rule_id=rule.id, customer=customer, answer=answer, events=told))


async def _command(request: web.Request, key: Key, command: str, asked: dict[str, Any]) -> Any:
    return await commands.ask(request, key, commands.RULE_ENGINE, command, asked)


async def _ask(request: web.Request, key: Key, command: str, asked: dict[str, Any]) -> Any:
    """Of the rule that the path names."""
    rule_id = path_uuid(request, "id")
    if rule_id is None:
        raise _not_found()
    return await _command(request, key, command, {**asked, "id": str(rule_id)})


async def _find(request: web.Request, key: Key) -> Rule:
    rule_id = path_uuid(request, "id")
    rule = rule_id and await store.find_rule(request.app[STATE].pool, key.store_id, rule_id)
    if not rule:
        raise _not_found()
    return rule


def _not_found() -> ApiError:
    return ApiError(404, "trustlens_rule_not_found", "Rule not found.")


ROUTES = [
    web.get("/rules", index),
    web.post("/rules", create),
    web.post("/rules/validate", validate),
    web.get("/rules/schema", schema),
    web.get("/rules/starters", starters),
    web.post("/rules/starters", install),
    web.get("/rules/{id}", show),
    web.put("/rules/{id}", replace),
    web.patch("/rules/{id}", update),
    web.delete("/rules/{id}", delete),
    web.get("/rules/{id}/versions", versions),
    web.post("/rules/{id}/restore", restore),
    web.get("/rules/{id}/evaluations", evaluations),
    web.get("/rules/{id}/why", why_not),
    web.get("/evaluations", customer_evaluations),
]
