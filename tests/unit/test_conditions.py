"""The condition language: what it accepts, what it decides, what it says."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.conditions import (
    MAX_DEPTH,
    MAX_LEAVES,
    MAX_REASON,
    All,
    AnyOf,
    Condition,
    Leaf,
    Not,
    check,
    fields_named,
    too_large,
)
from shared.events import Change, Dispute, EventData, Refund
from shared.fields import FIELDS, Fields, fields_of
from shared.mistakes import mistakes
from support.events import event, order, snapshot

PARSER: TypeAdapter[Condition] = TypeAdapter(Condition)


def parsed(tree: object) -> Condition:
    return PARSER.validate_python(tree)


def leaf(field: str, operator: str, value: object) -> dict[str, object]:
    return {"field": field, "operator": operator, "value": value}


FIELDS_SEEN: Fields = {
    "trust_score": 47,
    "segment": "caution",
    "is_blocked": False,
    "order.total": Decimal("249.00"),
    "tags": ("watch", "vip-club"),
    "email_domain": "example.com",
    "days_since_last_order": None,
}


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        ("trust_score", "=", 47),
        ("trust_score", "=", 47.0),
        ("trust_score", "!=", 48),
        ("trust_score", "<", 47.5),
        ("trust_score", "<=", 47),
        ("trust_score", ">", 46),
        ("trust_score", ">=", 47),
        ("trust_score", "in", [1, 47]),
        ("trust_score", "not_in", [1, 2]),
        ("order.total", "=", 249),
        ("order.total", ">", 248.99),
        ("segment", "=", "caution"),
        ("segment", "in", ["risk", "caution"]),
        ("is_blocked", "=", False),
        ("is_blocked", "!=", True),
        ("tags", "contains", "watch"),
        ("email_domain", "contains", "example"),
    ],
)
def test_a_leaf_that_holds(field: str, operator: str, value: object) -> None:
    assert check(parsed(leaf(field, operator, value)), FIELDS_SEEN).holds


@pytest.mark.parametrize(
    ("field", "operator", "value", "reason"),
    [
        ("trust_score", "<", 30, "trust_score < 30: actual 47"),
        ("trust_score", "=", 47.5, "trust_score = 47.5: actual 47"),
        ("trust_score", "in", [1, 2], "trust_score in 1, 2: actual 47"),
        ("segment", "!=", "caution", "segment != caution: actual caution"),
        ("segment", "not_in", ["risk", "caution"], "segment not_in risk, caution: actual caution"),
        ("is_blocked", "=", True, "is_blocked = true: actual false"),
        (
            "trust_score",
            "in",
            list(range(9)),
            "trust_score in 0, 1, 2, 3, 4 and 4 more: actual 47",
        ),
        ("segment", "=", "x" * 500, f"segment = {'x' * 100}: actual caution"),
        ("tags", "contains", "wat", "tags contains wat: actual watch, vip-club"),
        ("order.total", ">", 500, "order.total > 500: actual 249.00"),
        ("days_since_last_order", ">", 1, "days_since_last_order: no order yet"),
        ("account_age_days", ">", 1, "account_age_days: no completed order yet"),
        ("order.status", "=", "pending", "order.status: no order in this event"),
        ("refund.amount", ">", 1, "refund.amount: no refund in this event"),
        ("old_score", ">", 1, "old_score: no change of score in this event"),
        ("dispute.status", "=", "lost", "dispute.status: no dispute in this event"),
        ("total_orders", ">", 1, "total_orders: no value in this event"),
        ("segment", "=", "", 'segment = "": actual caution'),
        ("segment", "in", [], "segment in none: actual caution"),
        ("segment", "<", 3, "segment caution cannot be compared with 3"),
        ("email_domain", "contains", 3, "email_domain example.com cannot be compared with 3"),
        ("trust_score", "contains", "4", "trust_score contains 4: actual 47"),
    ],
)
def test_a_leaf_that_does_not_hold_says_why(field: str, operator: str, value: object, reason: str) -> None:
    verdict = check(parsed(leaf(field, operator, value)), FIELDS_SEEN)
    assert (verdict.holds, verdict.reason) == (False, reason)


TRUE, FALSE = leaf("trust_score", ">", 0), leaf("trust_score", "<", 30)
WHY = "trust_score < 30: actual 47"


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ({"all": []}, None),
        ({"all": [TRUE, TRUE]}, None),
        ({"all": [TRUE, FALSE]}, WHY),
        ({"any": [FALSE, TRUE]}, None),
        ({"any": [FALSE, FALSE]}, f"none of: {WHY}; {WHY}"),
        ({"not": FALSE}, None),
        ({"not": TRUE}, "not: the excluded condition holds"),
        ({"not": leaf("refund.amount", ">", 1)}, None),
        ({"all": [TRUE, {"any": [FALSE, {"not": FALSE}]}]}, None),
    ],
)
def test_trees_hold_or_name_the_part_that_decided(tree: object, reason: str | None) -> None:
    verdict = check(parsed(tree), FIELDS_SEEN)
    assert (verdict.holds, verdict.reason) == (reason is None, reason or "")


def test_no_condition_always_holds() -> None:
    assert check(None, {}).holds


@pytest.mark.parametrize(
    ("tree", "path", "message"),
    [
        (leaf("shoe_size", "=", 44), "field", "is not known: shoe_size"),
        (leaf("trust_score", "~", 44), "operator", "should be '=', '!="),
        (leaf("trust_score", "=", None), "value", "must be true, false, a number, a text, or a list of these"),
        (leaf("trust_score", "=", {}), "value", "must be true"),
        (leaf("trust_score", "=", float("nan")), "value", "must be true"),
        (leaf("trust_score", "=", float("inf")), "value", "must be true"),
        (leaf("segment", "=", "x" * 501), "value", "is longer than 500 characters"),
        (leaf("segment", "=", "a\0"), "value", "cannot be stored"),
        (leaf("segment", "=", "\ud800"), "value", "cannot be stored"),
        (leaf("trust_score", "=", 10**5000), "value", "must be a number of at most 1000000000000000"),
        (leaf("trust_score", "=", -1e300), "value", "must be a number of at most 1000000000000000"),
        (leaf("segment", "in", ["x"] * 501), "value", "has more than 500 values"),
        (leaf("segment", "in", [["x"]]), "value", "must be true"),
        (leaf("segment", "in", "risk"), "body", "in takes a list"),
        (leaf("segment", "=", ["risk"]), "body", "= takes a single value"),
        ({"all": [TRUE, leaf("shoe_size", "=", 44)]}, "all.1.field", "is not known: shoe_size"),
        ({"all": [{"any": [{"not": leaf("shoe_size", "=", 44)}]}]}, "all.0.any.0.not.field", "is not known: shoe_size"),
        ({"any": []}, "any", "at least 1 item"),
        ({"all": [], "any": [TRUE]}, "any", "is not known here"),
        ({"all": [7]}, "all.0", "should be an object"),
        ({"all": TRUE}, "all", "should be a list"),
        ("trust_score < 30", "body", "should be an object"),
    ],
)
def test_a_mistake_is_told_once_at_its_place(tree: object, path: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parsed(tree)
    found = mistakes(caught.value)
    assert list(found) == [path]
    assert message in found[path]


def nested(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = TRUE
    for _ in range(depth - 1):
        tree = {"not": tree}
    return tree


def test_depth_and_leaves_are_bounded() -> None:
    assert too_large(None) is None
    assert too_large(parsed(nested(MAX_DEPTH))) is None
    assert too_large(parsed(nested(MAX_DEPTH + 1))) == "must not be nested deeper than 5"
    halves = [{"all": [TRUE] * (MAX_LEAVES // 2)}] * 2
    assert too_large(parsed({"any": halves})) is None
    assert too_large(parsed({"any": [*halves, TRUE]})) == "must not hold more than 50 conditions"


def test_the_values_of_all_lists_are_bounded_together() -> None:
    full = {"any": [leaf("trust_score", "in", [1] * 500), {"not": leaf("trust_score", "not_in", [1] * 500)}]}
    assert too_large(parsed(full)) is None
    assert too_large(parsed({"all": [full, TRUE]})) is None
    assert (
        too_large(parsed({"all": [full, leaf("trust_score", "in", [1])]}))
        == "must not hold more than 1,000 values in all"
    )


def test_a_thousand_levels_are_refused_and_break_nothing() -> None:
    with pytest.raises(ValidationError):
        parsed(nested(1000))


scalars = (
    st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(-1e15, 1e15)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
)
leaves = st.builds(
    leaf, st.sampled_from(sorted(FIELDS)), st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "contains"]), scalars
) | st.builds(leaf, st.sampled_from(sorted(FIELDS)), st.sampled_from(["in", "not_in"]), st.lists(scalars, max_size=4))


def trees_of(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda parts: {"all": parts})
            | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts})
            | inner.map(lambda part: {"not": part})
        ),
        max_leaves=8,
    )


trees = trees_of(leaves)
seen = st.fixed_dictionaries({}, optional=dict.fromkeys(sorted(FIELDS), st.none() | scalars))

few = st.sampled_from([True, 0, 1, 2, 0.5, "a", "ab", ""])
few_leaves = st.builds(
    leaf, st.sampled_from(["segment", "tags"]), st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "contains"]), few
) | st.builds(leaf, st.sampled_from(["segment", "tags"]), st.sampled_from(["in", "not_in"]), st.lists(few, max_size=3))
few_seen = st.fixed_dictionaries(
    {},
    optional={
        "segment": st.sampled_from([None, True, 1, Decimal("0.5"), Decimal(2), "a", "ab"]),
        "tags": st.sampled_from([None, (), ("a",), ("ab", "b")]),
    },
)


def holds(condition: Condition, fields: Mapping[str, Any]) -> bool:
    """The language again, as plainly as it can be said: the oracle."""
    match condition:
        case All(all=parts):
            return all(holds(part, fields) for part in parts)
        case AnyOf(any=parts):
            return any(holds(part, fields) for part in parts)
        case Not(not_=part):
            return not holds(part, fields)
    actual = fields.get(condition.field)
    try:
        return actual is not None and bool(PLAINLY[condition.operator](actual, condition.value))
    except TypeError:
        return False


PLAINLY: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
    "not_in": lambda a, b: a not in b,
    "contains": lambda a, b: b in a,
}


@given(trees_of(few_leaves), few_seen)
def test_a_condition_is_decided_as_it_reads(tree: Mapping[str, object], fields: Mapping[str, Any]) -> None:
    condition = parsed(tree)
    assert check(condition, fields).holds is holds(condition, fields)


def test_a_reason_stays_short_whatever_it_is_about() -> None:
    tree = {"any": [leaf("segment", "in", ["x" * 500] * 9)] * MAX_LEAVES}
    reason = check(parsed(tree), FIELDS_SEEN).reason
    assert len(reason) == MAX_REASON
    assert reason.startswith("none of: segment in xxx")
    assert reason.endswith("x…")


def test_of_many_alternatives_the_first_are_named() -> None:
    reason = check(parsed({"any": [leaf("is_blocked", "=", True)] * 7}), FIELDS_SEEN).reason
    assert reason == "none of: " + "is_blocked = true: actual false; " * 5 + "and 2 more"


@given(trees)
def test_a_condition_survives_its_storage(tree: Mapping[str, object]) -> None:
    condition = parsed(tree)
    stored = PARSER.dump_json(condition, by_alias=True)
    assert PARSER.validate_json(stored) == condition


@given(trees, seen)
def test_any_condition_decides_any_values_and_not_turns_it_round(
    tree: Mapping[str, object], fields: Mapping[str, Any]
) -> None:
    verdict = check(parsed(tree), fields)
    assert verdict.holds is (verdict.reason == "")
    assert check(parsed({"not": tree}), fields).holds is not verdict.holds
    assert check(parsed({"all": [tree]}), fields) == verdict
    assert check(parsed({"any": [tree]}), fields).holds is verdict.holds


def test_an_event_has_every_field_that_it_can_tell() -> None:
    change = Change(old_score=50, new_score=25, old_segment="normal", new_segment="risk")
    told = event(
        "order_refunded",
        customer=snapshot(tags=("watch",), account_age_days=3, days_since_last_order=1),
        data=EventData(
            order=order(),
            change=change,
            refund=Refund(id=1, amount=Decimal("10.50")),
            dispute=Dispute(id="dp_1", amount=Decimal(20), currency="EUR", reason="fraudulent", status="lost"),
        ),
    )
    fields = fields_of(told)
    assert set(fields) == FIELDS
    assert None not in fields.values()
    assert fields["score_delta"] == -25
    assert (fields["order.total"], fields["refund.amount"]) == (Decimal("249.00"), Decimal("10.50"))
    assert (fields["dispute.reason"], fields["dispute.amount"]) == ("fraudulent", Decimal(20))
    assert fields["dispute.status"] == "lost"


def test_an_event_without_an_order_has_no_order_fields() -> None:
    assert not any(name.startswith("order.") for name in fields_of(event()))


def test_the_fields_a_condition_names() -> None:
    tree = {"all": [TRUE, {"not": leaf("segment", "=", "vip")}, {"any": [leaf("order.total", ">", 1)]}]}
    assert fields_named(parsed(tree)) == {"trust_score", "segment", "order.total"}
    assert fields_named(None) == frozenset()


def test_nodes_built_in_code_are_accepted_as_they_are() -> None:
    part = Leaf(field="trust_score", operator="<", value=30)
    for node in (part, All(all=(part,)), AnyOf(any=(part,)), Not.model_validate({"not": part})):
        assert parsed(node) is node
