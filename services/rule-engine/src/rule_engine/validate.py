"""What is wrong with a rule that can be read, and what is doubtful: before it is saved, in the store it is for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never
from uuid import UUID

from pydantic import ValidationError

from rule_engine.actions import (
    ORDER_ACTIONS,
    OUTSIDE_ACTIONS,
    SendEmail,
    SendSlack,
    SendToEndpoint,
    SendToUrl,
    is_slack,
)
from rule_engine.possible import World, world
from rule_engine.rules import NewRule
from shared.conditions import All, AnyOf, Condition, Leaf, Not, asked
from shared.events import LOWEST_SCORES, Segment
from shared.fields import CONTEXTS, SPECS
from shared.misfits import NEEDED, leaves, misfits, strangers
from shared.mistakes import Problem, problems
from shared.targets import SHORT_SECRET, Reach

Path = tuple[str | int, ...]
CONDITIONS: Path = ("conditions",)
FEW_STEPS = 256
"""In a search about a part of the conditions, of which there may be many."""


@dataclass(frozen=True, slots=True)
class Shop:
    """What a rule's store has."""

    lowest: Mapping[Segment, int] = field(default_factory=lambda: LOWEST_SCORES)
    """Of each segment the lowest score; Critical begins at 0."""
    endpoints: Mapping[UUID, bool] = field(default_factory=dict)
    """Those there are, and whether they are on."""
    has_mail_server: bool = True
    has_order_access: bool = True
    """Whether we have keys to its REST API."""


@dataclass(frozen=True, slots=True)
class Report:
    """Errors stop a save, warnings are doubts."""

    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read(given: Any, reach: Reach, shop: Shop) -> tuple[NewRule | None, Report]:
    """A rule as it came, and all that is wrong with it. None: it can't be read."""
    try:
        rule = NewRule.model_validate(given, context=reach)
    except ValidationError as error:
        told = [Problem(it.path, _sentence(it)) for it in problems(error)]
        return None, Report(errors=tuple(told))
    return rule, validate(rule, shop)


def _sentence(problem: Problem) -> str:
    """A mistake follows the name of its field; at its place in a list that is the list's."""
    names = [part for part in problem.path if isinstance(part, str)]
    return f"{names[-1] if names else 'body'} {problem.message}"


def validate(rule: NewRule, shop: Shop) -> Report:
    unfit = [*misfits(rule.conditions, CONDITIONS), *_out_of_context(rule)]
    errors = [*unfit, *_action_errors(rule, shop)]
    warnings = [*_action_doubts(rule, shop), *_timing_doubts(rule)]
    if not unfit:
        known = world(rule.trigger, [rule.conditions, *_PROBES], shop.lowest)
        never = [] if known.can(rule.conditions) else [*_never(rule, known)]
        errors += never
        warnings += [] if never else [*_condition_doubts(rule, known), *_effect_doubts(rule, known)]
    return Report(tuple(errors), tuple(warnings))


def _out_of_context(rule: NewRule) -> Iterator[Problem]:
    for problem, _ in strangers(rule.conditions, CONTEXTS[rule.trigger], CONDITIONS):
        yield Problem(problem.path, f"{problem.message}, and {rule.trigger} has none")


# Actions --------------------------------------------------------------------------------------------------------------

_OWN_TRIGGERS = {
    ("recalculate_score", "score_updated"),
    ("block_customer", "customer_blocked"),
    ("unblock_customer", "customer_unblocked"),
    ("allowlist_customer", "customer_allowlisted"),
    ("cancel_order", "order_cancelled"),
}
"""Action and what always comes of it."""


def _action_errors(rule: NewRule, shop: Shop) -> Iterator[Problem]:
    for n, action in enumerate(rule.actions):
        path: Path = ("actions", n)
        if action.type in ORDER_ACTIONS and "order" not in CONTEXTS[rule.trigger]:
            yield Problem((*path, "type"), f"{action.type} needs {NEEDED['order']}, and {rule.trigger} has none")
        if (action.type, rule.trigger) in _OWN_TRIGGERS:
            yield Problem((*path, "type"), f"{action.type} leads to {rule.trigger}: the rule would trigger itself")
        if isinstance(action, SendToEndpoint) and action.webhook_id not in shop.endpoints:
            yield Problem((*path, "webhook_id"), "there is no such endpoint")


def _action_doubts(rule: NewRule, shop: Shop) -> Iterator[Problem]:
    for n, action in enumerate(rule.actions):
        path: Path = ("actions", n)
        match action:
            case SendToUrl(secret=str(secret)) if 0 < len(secret) < SHORT_SECRET:
                yield Problem((*path, "secret"), f"shorter than {SHORT_SECRET} characters, it can be guessed")
            case SendToEndpoint() if shop.endpoints.get(action.webhook_id) is False:
                yield Problem((*path, "webhook_id"), "this endpoint is off: nothing is sent until it is on")
            case SendSlack() if not is_slack(action.url):
                yield Problem((*path, "url"), "this is not Slack: it must take Slack's messages all the same")
            case SendEmail() if not shop.has_mail_server:
                told = "the store has no mail server yet: nothing is sent until PATCH /store tells of one"
                yield Problem((*path, "type"), told)
            case _ if action.type in ORDER_ACTIONS and not shop.has_order_access:
                told = "the store's REST API keys are not known yet: no order is changed until PATCH /store tells them"
                yield Problem((*path, "type"), told)
            case _:
                pass
        yield from _contradictions(rule, n)


_UNDONE_BY = {
    ("block_customer", "unblock_customer"): "it undoes block_customer, of the same rule",
    ("unblock_customer", "block_customer"): "it undoes unblock_customer, of the same rule",
    ("block_customer", "allowlist_customer"): "a blocked customer cannot be allowlisted: it will be refused",
    ("allowlist_customer", "block_customer"): "an allowlisted customer cannot be blocked: it will be refused",
    ("cancel_order", "hold_order"): "the order is cancelled by then",
}


def _contradictions(rule: NewRule, position: int) -> Iterator[Problem]:
    """Between an action and those before it."""
    action = rule.actions[position]
    earlier = rule.actions[:position]
    path: Path = ("actions", position)
    if action in earlier:
        yield Problem(path, f"is the same as action {earlier.index(action)}")
    for kind in dict.fromkeys(it.type for it in earlier):
        if told := _UNDONE_BY.get((kind, action.type)):
            yield Problem((*path, "type"), told)


_BROAD = frozenset(("score_updated", "segment_changed", "order_placed", "order_status_changed", "order_refunded"))
"""What happens to every customer."""
_GRAVE = frozenset(("block_customer", "hold_order", "cancel_order"))


def _timing_doubts(rule: NewRule) -> Iterator[Problem]:
    outside = next((action.type for action in rule.actions if action.type in OUTSIDE_ACTIONS), None)
    if rule.cooldown == 0 and outside:
        yield Problem(("cooldown",), f"without a cooldown, {outside} is done at every {rule.trigger}")
    grave = next((action.type for action in rule.actions if action.type in _GRAVE), None)
    if grave and rule.trigger in _BROAD and not [*leaves(rule.conditions)]:
        yield Problem(CONDITIONS, f"without conditions, {grave} is done to every customer at {rule.trigger}")


# Conditions -----------------------------------------------------------------------------------------------------------


def _never(rule: NewRule, known: World) -> Iterator[Problem]:
    """Which parts can never hold, or not together. The conditions as a whole can't."""
    if rule.conditions is not None:
        yield from _impossible(rule.conditions, CONDITIONS, known)


def _impossible(condition: Condition, path: Path, known: World) -> Iterator[Problem]:
    match condition:
        case Leaf():
            yield Problem((*path, "value"), f"{asked(condition)} can never hold{_reason(condition, known)}")
        case Not():
            yield Problem(path, "can never hold: what it excludes always holds")
        case AnyOf():
            for n, part in enumerate(condition.any):
                yield from _impossible(part, (*path, "any", n), known)
        case All():
            yield from _impossible_together(condition, path, known)
        case _:
            assert_never(condition)


def _impossible_together(condition: All, path: Path, known: World) -> Iterator[Problem]:
    """The first part that can't hold at all; else the first two that can't hold together; else all of them."""
    for n, part in enumerate(condition.all):
        if not known.can(part, steps=FEW_STEPS):
            yield from _impossible(part, (*path, "all", n), known)
            return
    for later, part in enumerate(condition.all):
        for earlier in range(later):
            if not known.can(condition.all[earlier], part, steps=FEW_STEPS):
                other = _named(condition.all[earlier], (*path, "all", earlier))
                told = f"{_named(part)} can never hold together with {other}"
                yield Problem((*path, "all", later), told + _thresholds(All(all=(condition.all[earlier], part))))
                return
    yield Problem(path, "can never hold together" + _thresholds(condition))


def _named(condition: Condition, elsewhere: Path = ()) -> str:
    """A leaf by what it asks; another part by its place, where that is not the place of what is told."""
    if isinstance(condition, Leaf):
        return asked(condition)
    return Problem(elsewhere, "").pointer or "this part"


def _thresholds(condition: Condition) -> str:
    types = {SPECS[leaf.field].type for _, leaf in leaves(condition)}
    return " under this store's segment thresholds" if types >= {"segment", "integer"} else ""


def _reason(leaf: Leaf, known: World) -> str:
    """Why a leaf can't hold by itself."""
    if leaf.value == ():
        return ": its list is empty"
    spec = SPECS[leaf.field]
    if world(_ORDINARY[spec.group], [leaf]).can(leaf):
        return f" when {known.trigger} happens"
    if spec.minimum is not None and spec.maximum is not None:
        return f": {spec.name} goes from {spec.minimum} to {spec.maximum}"
    return "" if spec.minimum is None else f": {spec.name} is never below {spec.minimum}"


_ORDINARY = {
    "customer": "checkout_blocked",
    "order": "order_status_changed",
    "change": "score_updated",
    "refund": "order_refunded",
    "dispute": "chargeback_filed",
}
"""For each group an event of which nothing else is known."""


def _condition_doubts(rule: NewRule, known: World) -> Iterator[Problem]:
    if rule.conditions is None:
        return
    yield from _doubts(rule.conditions, CONDITIONS, known)
    told: set[str] = set()
    for path, leaf in leaves(rule.conditions, CONDITIONS):
        missing = SPECS[leaf.field].missing
        if missing and leaf.field in _OFTEN_MISSING and leaf.field not in told:
            told.add(leaf.field)
            yield Problem((*path, "field"), f"{leaf.field} may have no value ({missing}): it is not met then")


_OFTEN_MISSING = frozenset(("account_age_days", "days_since_last_order"))
"""Of new customers. An e-mail domain is missing of erased ones only."""


def _doubts(condition: Condition, path: Path, known: World) -> Iterator[Problem]:
    """The outermost parts that always hold or never do. The whole can hold."""
    if not [*leaves(condition)]:
        return
    if known.must(condition, steps=FEW_STEPS):
        yield Problem(path, f"{_named(condition)} always holds")
        return
    if not known.can(condition, steps=FEW_STEPS):
        yield from _impossible(condition, path, known)
        return
    match condition:
        case Leaf():
            return
        case Not():
            yield from _doubts(condition.not_, (*path, "not"), known)
        case All():
            for n, part in enumerate(condition.all):
                yield from _doubts(part, (*path, "all", n), known)
        case AnyOf():
            for n, part in enumerate(condition.any):
                yield from _doubts(part, (*path, "any", n), known)
        case _:
            assert_never(condition)


# What actions find, and lead to ---------------------------------------------------------------------------------------

_BLOCKED, _FREE = (Leaf(field="is_blocked", operator="=", value=value) for value in (True, False))
_ALLOWLISTED, _UNLISTED = (Leaf(field="is_allowlisted", operator="=", value=value) for value in (True, False))
_HELD, _NOT_HELD = (Leaf(field="order.status", operator=operator, value="on-hold") for operator in ("=", "!="))
_CANCELLED, _NOT_CANCELLED = (
    Leaf(field="order.status", operator=operator, value="cancelled") for operator in ("=", "!=")
)
_PROBES = (_BLOCKED, _FREE, _ALLOWLISTED, _UNLISTED, _HELD, _NOT_HELD, _CANCELLED, _NOT_CANCELLED)

_NEEDS = {
    "block_customer": (
        (_FREE, "the customer is blocked already"),
        (_UNLISTED, "an allowlisted customer is not blocked"),
    ),
    "unblock_customer": ((_BLOCKED, "the customer is not blocked"),),
    "allowlist_customer": (
        (_UNLISTED, "the customer is allowlisted already"),
        (_FREE, "a blocked customer is not allowlisted"),
    ),
    "hold_order": ((_NOT_HELD, "the order is on hold already"), (_NOT_CANCELLED, "a cancelled order is not held")),
    "cancel_order": ((_NOT_CANCELLED, "the order is cancelled already"),),
}
"""What must be so, lest an action find nothing to do."""
_EFFECTS = {
    ("block_customer", "score_updated"): _BLOCKED,
    ("unblock_customer", "score_updated"): _FREE,
    ("allowlist_customer", "score_updated"): _ALLOWLISTED,
    ("allowlist_customer", "segment_changed"): _ALLOWLISTED,
    ("hold_order", "order_status_changed"): _HELD,
    ("cancel_order", "order_status_changed"): _CANCELLED,
}
"""Action and trigger: what is so in the event that the action leads to."""


def _effect_doubts(rule: NewRule, known: World) -> Iterator[Problem]:
    has_order = "order" in CONTEXTS[rule.trigger]
    for n, action in enumerate(rule.actions):
        path: Path = ("actions", n, "type")
        if action.type in ORDER_ACTIONS and not has_order:
            continue
        for needed, told in _NEEDS.get(action.type, ()):
            if not known.can(rule.conditions, needed):
                yield Problem(path, f"{told} whenever this rule fires")
        effect = _EFFECTS.get((action.type, rule.trigger))
        if effect and known.can(rule.conditions, effect):
            told = f"{action.type} leads to {rule.trigger}, where this rule may hold once more"
            yield Problem(path, f"{told}: a condition may exclude {asked(effect)}")
