"""Whether a condition can ever hold: against brute force over everything that can be so, and by example."""

import time
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import chain, product
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from rule_engine.possible import World, world
from rule_engine.rules import Trigger
from shared.conditions import Condition, compiled
from shared.events import LOWEST_SCORES, SEGMENTS, Segment
from shared.fields import CONTEXTS, SPECS, Value

PARSER: TypeAdapter[Condition] = TypeAdapter(Condition)
Lowest = dict[Segment, int]


def parsed(tree: object) -> Condition:
    return PARSER.validate_python(tree)


def leaf(field: str, operator: str, value: object) -> dict[str, object]:
    return {"field": field, "operator": operator, "value": value}


def of(trigger: str, condition: Condition, lowest: Lowest | None = None) -> World:
    return world(trigger, [condition], lowest or dict(LOWEST_SCORES))


# Brute force ----------------------------------------------------------------------------------------------------------


def segment_of(score: int, lowest: Lowest) -> Segment:
    return next(name for name in SEGMENTS if score >= lowest.get(name, 0))


def standings(lowest: Lowest) -> set[tuple[int, str]]:
    """Score and segment as the scorer gives them; 50 and Normal before it gave any."""
    return {(score, segment_of(score, lowest)) for score in range(101)} | {(50, "normal")}


def customers(lowest: Lowest) -> Iterator[dict[str, Value | None]]:
    for (score, segment), blocked, allowlisted in product(standings(lowest), (False, True), (False, True)):
        if (blocked and allowlisted) or (allowlisted and (score, segment) != (100, "vip")):
            continue
        for full, refunds, age in product(range(4), range(4), (None, 0, 1, 2, 3)):
            if full <= refunds:
                yield {
                    "trust_score": score,
                    "segment": segment,
                    "is_blocked": blocked,
                    "is_allowlisted": allowlisted,
                    "full_refunds": full,
                    "total_refunds": refunds,
                    "account_age_days": age,
                }


def changes(lowest: Lowest) -> Iterator[dict[str, Value | None]]:
    """Of a score_updated; those of new thresholds, under which a score stays and is called otherwise, are the last."""
    stayed = (((new, now), (new, then)) for (new, now), then in product(standings(lowest), SEGMENTS) if then != now)
    for (new, new_segment), (old, old_segment) in chain(product(standings(lowest), standings(lowest)), stayed):
        yield {
            "trust_score": new,
            "new_score": new,
            "segment": new_segment,
            "new_segment": new_segment,
            "old_score": old,
            "old_segment": old_segment,
            "score_delta": new - old,
        }


def outcomes(condition: Condition, tried: Iterable[Mapping[str, Any]]) -> set[bool]:
    """What comes of trying them, until there is nothing new to come."""
    against, found = compiled(condition), set[bool]()
    for fields in tried:
        found.add(against(fields) is None)
        if len(found) > 1:
            break
    return found


lowests = st.lists(st.integers(1, 100), min_size=5, max_size=5, unique=True).map(
    lambda scores: dict(zip(SEGMENTS, [*sorted(scores, reverse=True), 0], strict=True))
)
comparisons = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
several = st.sampled_from(["in", "not_in"])
scores, deltas, counts = st.integers(0, 100), st.integers(-100, 100), st.integers(0, 2)
segments = st.sampled_from(SEGMENTS)


def numbers(field: str, values: st.SearchStrategy[int]) -> st.SearchStrategy[Any]:
    return st.builds(leaf, st.just(field), comparisons, values) | st.builds(
        leaf, st.just(field), several, st.lists(values, max_size=3)
    )


def named(field: str) -> st.SearchStrategy[Any]:
    return st.builds(leaf, st.just(field), st.sampled_from(["=", "!="]), segments) | st.builds(
        leaf, st.just(field), several, st.lists(segments, max_size=3)
    )


def flag(field: str) -> st.SearchStrategy[Any]:
    return st.builds(leaf, st.just(field), st.sampled_from(["=", "!="]), st.booleans())


of_customers = st.one_of(
    numbers("trust_score", scores),
    named("segment"),
    flag("is_blocked"),
    flag("is_allowlisted"),
    numbers("full_refunds", counts),
    numbers("total_refunds", counts),
    numbers("account_age_days", counts),
)
of_changes = st.one_of(
    numbers("trust_score", scores),
    numbers("new_score", scores),
    numbers("old_score", scores),
    numbers("score_delta", deltas),
    named("segment"),
    named("new_segment"),
    named("old_segment"),
)


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4).map(lambda parts: {"all": parts})
            | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts})
            | inner.map(lambda part: {"not": part})
        ),
        max_leaves=8,
    )


slowly = settings(deadline=None, max_examples=60)


@slowly
@given(lowests, trees(of_customers))
def test_of_customers_it_says_what_trying_all_of_them_says(lowest: Lowest, tree: Any) -> None:
    condition = parsed(tree)
    known = of("order_refunded", condition, lowest)
    holds = outcomes(condition, customers(lowest))
    assert (known.can(condition), known.must(condition)) == (True in holds, holds == {True})


@slowly
@given(lowests, trees(of_changes))
def test_of_changes_it_says_what_trying_all_of_them_says(lowest: Lowest, tree: Any) -> None:
    condition = parsed(tree)
    holds = outcomes(condition, changes(lowest))
    known = of("score_updated", condition, lowest)
    assert (known.can(condition), known.must(condition)) == (True in holds, holds == {True})
    moved = outcomes(condition, (it for it in changes(lowest) if it["segment"] != it["old_segment"]))
    assert of("segment_changed", condition, lowest).can(condition) == (True in moved)


amounts = st.integers(-5, 205).map(lambda tenths: tenths / 10)
texts = st.sampled_from(["paypal", "stripe", "stripe_cc", "pay", "a"])
of_orders = st.one_of(
    st.builds(leaf, st.just("order.total"), comparisons, amounts),
    st.builds(leaf, st.just("order.payment_method"), st.sampled_from(["=", "!=", "contains"]), texts),
    st.builds(leaf, st.just("order.payment_method"), several, st.lists(texts, max_size=3)),
    st.builds(leaf, st.just("tags"), st.just("contains"), texts),
)


@slowly
@given(trees(of_orders))
def test_of_amounts_and_texts_it_never_refuses_what_can_be(tree: Any) -> None:
    condition = parsed(tree)
    methods = ["paypal", "stripe", "stripe_cc", "pay", "a", "", "cash", "a|stripe", "x_stripe_cc"]
    tags: list[tuple[str, ...]] = [(), ("paypal",), ("a", "stripe"), ("pay", "paypal", "stripe", "stripe_cc", "a")]
    grid = product([Decimal(n) / 20 for n in range(0, 420, 3)], methods, tags)
    tried = ({"order.total": total, "order.payment_method": how, "tags": tag} for total, how, tag in grid)
    known = of("order_placed", condition)
    holds = outcomes(condition, tried)
    assert known.can(condition) or True not in holds
    assert not known.must(condition) or False not in holds


# By example -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "parts"),
    [
        ("score_updated", [leaf("trust_score", "<", 10), leaf("trust_score", ">", 50)]),
        ("order_placed", [leaf("segment", "=", "vip"), leaf("trust_score", "<", 20)]),
        ("score_updated", [leaf("trust_score", ">", 29), leaf("trust_score", "<", 30)]),
        ("score_updated", [leaf("trust_score", "=", 30), leaf("trust_score", "not_in", [29, 30])]),
        ("score_updated", [leaf("trust_score", ">", 100)]),
        ("score_updated", [leaf("segment", "in", [])]),
        ("score_updated", [leaf("is_blocked", "=", True), leaf("is_allowlisted", "=", True)]),
        ("score_updated", [leaf("is_allowlisted", "=", True), leaf("trust_score", "<", 100)]),
        ("score_updated", [leaf("score_delta", ">", 0), leaf("new_score", "<", 40), leaf("old_score", ">", 60)]),
        ("score_updated", [leaf("score_delta", "=", -70), leaf("old_segment", "=", "normal")]),
        ("segment_changed", [leaf("old_segment", "=", "risk"), leaf("new_segment", "=", "risk")]),
        ("segment_changed", [leaf("score_delta", "=", 0), leaf("old_score", "=", 30), leaf("new_score", "=", 31)]),
        ("segment_changed", [leaf("new_segment", "=", "vip"), leaf("segment", "!=", "vip")]),
        ("high_risk_order", [leaf("segment", "=", "vip")]),
        ("high_risk_order", [leaf("trust_score", ">=", 40)]),
        ("customer_blocked", [leaf("is_blocked", "=", False)]),
        ("customer_allowlisted", [leaf("segment", "=", "risk")]),
        ("order_cancelled", [leaf("order.status", "=", "processing")]),
        ("chargeback_closed", [leaf("dispute.status", "=", "open")]),
        ("order_placed", [leaf("order.total", ">", 10), leaf("order.total", "<", 10)]),
        ("order_placed", [leaf("full_refunds", ">", 7), leaf("total_refunds", "<=", 7)]),
        ("chargeback_filed", [leaf("disputes_lost", ">=", 3), leaf("total_disputes", "<", 3)]),
        ("order_placed", [leaf("tags", "contains", "x"), {"not": leaf("tags", "contains", "x")}]),
        (
            "order_placed",
            [leaf("email_domain", "contains", "mail.ru"), {"not": leaf("email_domain", "contains", "ru")}],
        ),
        ("order_placed", [leaf("account_age_days", ">", 5), {"not": leaf("account_age_days", ">=", 0)}]),
    ],
)
def test_what_can_never_hold(trigger: str, parts: list[Any]) -> None:
    condition = parsed({"all": parts})
    assert not of(trigger, condition).can(condition)


@pytest.mark.parametrize(
    ("trigger", "parts"),
    [
        ("score_updated", [leaf("trust_score", ">", 28), leaf("trust_score", "<", 30)]),
        ("order_placed", [leaf("order.total", ">", 10), leaf("order.total", "<", 10.01)]),
        ("order_placed", [leaf("order.total", ">", 10**15 - 1)]),
        ("segment_changed", [leaf("new_segment", "=", "vip"), leaf("trust_score", "=", 100)]),
        ("segment_changed", [leaf("score_delta", "=", 0), leaf("new_segment", "=", "risk")]),
        ("order_placed", [{"not": leaf("account_age_days", ">=", 0)}]),
        (
            "order_placed",
            [leaf("email_domain", "contains", "ru"), {"not": leaf("email_domain", "contains", "mail.ru")}],
        ),
        ("order_placed", [leaf("tags", "contains", "a"), leaf("tags", "contains", "b")]),
    ],
)
def test_what_can_hold(trigger: str, parts: list[Any]) -> None:
    condition = parsed({"all": parts})
    assert of(trigger, condition).can(condition)


def test_50_is_normal_and_100_is_vip_under_any_thresholds() -> None:
    lowest: Lowest = {"vip": 80, "trusted": 79, "normal": 60, "caution": 55, "risk": 20, "critical": 0}
    new = parsed({"all": [leaf("segment", "=", "normal"), leaf("trust_score", "=", 50)]})
    assert of("order_placed", new, lowest).can(new)
    other = parsed({"all": [leaf("segment", "=", "normal"), leaf("trust_score", "=", 59)]})
    assert not of("order_placed", other, lowest).can(other)


@pytest.mark.parametrize("trigger", get_args(Trigger))
def test_of_every_trigger_something_can_be_and_every_field_of_it_can_be_asked_for(trigger: str) -> None:
    for spec in SPECS.values():
        if spec.group in CONTEXTS[trigger]:
            value: object = {"boolean": True, "text": "x", "texts": "x"}.get(spec.type, 1)
            of_it = parsed(leaf(spec.name, "=", spec.choices[0] if spec.choices else value))
            either = parsed({"any": [of_it, {"not": of_it}]})
            assert of(trigger, either).can(either)


def test_a_search_that_would_take_too_long_ends_without_a_word() -> None:
    free = [{"any": [leaf("order.total", "!=", n), leaf("return_rate", "!=", n)]} for n in range(20)]
    never = [{"any": [leaf("order.item_count", "=", m) for m in range(n, n + 3)]} for n in (1, 4)]
    short, long = parsed({"all": never}), parsed({"all": [*free, *never]})
    assert not of("order_placed", short).can(short)
    began = time.process_time()
    assert of("order_placed", long).can(long)
    assert time.process_time() - began < 2
