"""What is wrong with a rule that can be read, and what is doubtful."""

import time
from typing import Any, get_args
from uuid import UUID

import pytest

from rule_engine.actions import LABELS, ORDER_ACTIONS
from rule_engine.rules import NewRule, Trigger
from rule_engine.validate import Report, Shop, read
from shared.fields import CONTEXTS, SPECS
from shared.misfits import operators
from shared.targets import Reach

ENDPOINT, OFF = UUID(int=1), UUID(int=2)
SHOP = Shop(endpoints={ENDPOINT: True, OFF: False})
RECALCULATE, NOTE = {"type": "recalculate_score"}, {"type": "add_note", "text": "Look at this."}
WEBHOOK = {"type": "send_webhook", "url": "https://crm.example/hook"}


def leaf(field: str, operator: str, value: object) -> dict[str, object]:
    return {"field": field, "operator": operator, "value": value}


def report(shop: Shop = SHOP, **changes: Any) -> Report:
    rule = {"name": "A rule", "trigger": "order_placed", "actions": [NOTE], **changes}
    return read(rule, Reach(), shop)[1]


def errors(shop: Shop = SHOP, **changes: Any) -> dict[str, str]:
    return {problem.pointer: problem.message for problem in report(shop, **changes).errors}


def warnings(shop: Shop = SHOP, **changes: Any) -> dict[str, str]:
    found = report(shop, **changes)
    assert not found.errors
    return {problem.pointer: problem.message for problem in found.warnings}


def of_leaf(field: str, operator: str, value: object, **changes: Any) -> dict[str, str]:
    return errors(conditions={"all": [leaf("total_orders", ">", 0), leaf(field, operator, value)]}, **changes)


def test_a_plain_rule_has_neither_errors_nor_warnings() -> None:
    assert report() == Report()
    conditions = {"all": [leaf("segment", "in", ["risk", "critical"]), leaf("order.total", ">", 200)]}
    assert report(conditions=conditions, actions=[{"type": "hold_order"}, WEBHOOK]) == Report()


@pytest.mark.parametrize(
    ("field", "operator", "value", "place", "message"),
    [
        ("shoe_size", "=", 44, "field", "field is not known: shoe_size"),
        ("trust_score", "~", 44, "operator", "should be '='"),
        ("trust_score", "contains", 4, "operator", "takes =, !=, <, <=, >, >=, in or not_in"),
        ("segment", "<", "risk", "operator", "takes =, !=, in or not_in"),
        ("is_blocked", "in", [True], "operator", "takes = or !="),
        ("tags", "=", "x", "operator", "takes contains"),
        ("trust_score", "<", "30", "value", "trust_score is a whole number"),
        ("trust_score", "<", True, "value", "is a whole number"),
        ("trust_score", "<", 30.5, "value", "is a whole number"),
        ("trust_score", "in", [1, "2"], "value/1", "is a whole number"),
        ("trust_score", "in", 1, "", "takes a list"),
        ("trust_score", "<", [1], "", "takes a single value"),
        ("trust_score", "<", None, "value", "must be true, false, a number"),
        ("trust_score", "<", float("nan"), "value", "must be true, false, a number"),
        ("trust_score", "<", float("inf"), "value", "must be true, false, a number"),
        ("trust_score", "<", 101, "value", "goes from 0 to 100"),
        ("return_rate", ">", 100.1, "value", "goes from 0 to 100"),
        ("total_refunds", ">", -1, "value", "is never below 0"),
        ("order.total", ">", "200", "value", "is a number"),
        ("is_blocked", "=", 1, "value", "is true or false"),
        ("is_blocked", "=", "true", "value", "is true or false"),
        ("segment", "=", "Risk", "value", "is vip, trusted, normal, caution, risk or critical"),
        ("segment", "in", ["risk", 3], "value/1", "is a text"),
        ("order.currency", "=", "eur", "value", "is three capital letters, such as EUR"),
        ("order.billing_country", "=", "germany", "value", "is two capital letters"),
        ("order.shipping_country", "in", ["DE", "at"], "value/1", "is two capital letters"),
        ("order.shipping_country", "contains", "d", "value", "is two capital letters"),
        ("order.status", "=", "wc-on-hold", "value", "without wc-"),
        ("order.status", "=", "Processing", "value", "in lower case"),
        ("order.payment_method", "contains", "", "value", "takes a part that is not empty"),
        ("email_domain", "=", "Example.com", "value", "is a domain in lower case"),
        ("email_domain", "=", "jane@example.com", "value", "is a domain in lower case"),
        ("email_domain", "=", "münchen.example", "value", "in its ASCII form"),
        ("tags", "contains", " vip", "value", "without blanks around them"),
        ("tags", "contains", "x" * 65, "value", "1 to 64 characters"),
        ("order.payment_method", "=", "x" * 1_000_000, "value", "is longer than 500 characters"),
        ("order.payment_method", "=", "a\0", "value", "cannot be stored"),
    ],
)
def test_a_leaf_that_does_not_fit_its_field_is_refused_at_its_place(
    field: str, operator: str, value: object, place: str, message: str
) -> None:
    found = of_leaf(field, operator, value)
    assert list(found) == [f"/conditions/all/1/{place}".rstrip("/")]
    assert message in next(iter(found.values()))


def test_a_status_of_a_dispute_is_one_of_five() -> None:
    found = of_leaf("dispute.status", "=", "closed", trigger="chargeback_filed")
    assert found == {"/conditions/all/1/value": "dispute.status is warning, open, under_review, won or lost"}


@pytest.mark.parametrize("trigger", get_args(Trigger))
@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
def test_a_field_can_be_asked_for_where_its_events_have_it(trigger: str, spec: Any) -> None:
    value: Any = {"boolean": True, "text": "x", "texts": "x"}.get(spec.type, 1)
    value = {"order.currency": "EUR", "order.billing_country": "DE", "order.shipping_country": "DE"}.get(
        spec.name, spec.choices[-1] if spec.choices else value
    )
    asked = leaf(spec.name, operators(spec)[0], value)
    found = errors(trigger=trigger, conditions={"any": [asked, {"not": asked}]}, actions=[NOTE])
    if spec.group in CONTEXTS[trigger]:
        assert found == {}
    else:
        assert f"and {trigger} has none" in found["/conditions/any/0/field"]


@pytest.mark.parametrize(
    ("conditions", "pointer", "message"),
    [
        (
            {"all": [leaf("trust_score", "<", 10), leaf("total_orders", ">", 1), leaf("trust_score", ">", 50)]},
            "/conditions/all/2",
            "trust_score > 50 can never hold together with trust_score < 10",
        ),
        (
            {"all": [leaf("segment", "=", "vip"), leaf("trust_score", "<", 20)]},
            "/conditions/all/1",
            "trust_score < 20 can never hold together with segment = vip under this store's segment thresholds",
        ),
        (
            {"all": [{"not": leaf("trust_score", "<", 50)}, {"not": leaf("trust_score", ">", 10)}]},
            "/conditions/all/1",
            "this part can never hold together with /conditions/all/0",
        ),
        (
            {"all": [leaf("total_orders", ">", 1), {"all": [leaf("trust_score", ">", 100)]}]},
            "/conditions/all/1/all/0/value",
            "trust_score > 100 can never hold: trust_score goes from 0 to 100",
        ),
        (leaf("total_refunds", "<", 0), "/conditions/value", "can never hold: total_refunds is never below 0"),
        (leaf("segment", "in", []), "/conditions/value", "segment in none can never hold: its list is empty"),
        (leaf("order.total", "in", []), "/conditions/value", "order.total in none can never hold: its list is empty"),
        (
            {"any": [leaf("trust_score", "<", 0), {"not": leaf("trust_score", ">=", 0)}]},
            "/conditions/any/1",
            "can never hold: what it excludes always holds",
        ),
        (
            leaf("order.status", "=", "trash"),
            "/conditions/value",
            "order.status = trash can never hold when order_placed happens",
        ),
        (
            {
                "all": [
                    leaf("trust_score", "in", [1, 2]),
                    leaf("trust_score", "in", [2, 3]),
                    leaf("trust_score", "in", [1, 3]),
                ]
            },
            "/conditions",
            "can never hold together",
        ),
    ],
)
def test_conditions_that_can_never_hold_are_refused_where_they_contradict(
    conditions: Any, pointer: str, message: str
) -> None:
    found = errors(conditions=conditions)
    assert message in found[pointer]


def test_the_store_s_own_thresholds_decide() -> None:
    conditions = {"all": [leaf("segment", "=", "vip"), leaf("trust_score", "<", 90)]}
    assert errors(conditions=conditions)
    lowest = Shop(lowest={"vip": 80, "trusted": 70, "normal": 50, "caution": 40, "risk": 20})
    assert not errors(lowest, conditions=conditions)


@pytest.mark.parametrize(
    ("conditions", "pointer", "message"),
    [
        (leaf("trust_score", ">=", 0), "/conditions", "trust_score >= 0 always holds"),
        (
            {"any": [leaf("trust_score", "<", 50), leaf("trust_score", ">=", 50)]},
            "/conditions",
            "this part always holds",
        ),
        (
            {"any": [leaf("trust_score", "<", 50), leaf("segment", "not_in", ["vip"]), leaf("trust_score", "<", 0)]},
            "/conditions/any/2/value",
            "trust_score < 0 can never hold",
        ),
        (leaf("account_age_days", ">", 3), "/conditions/field", "no completed order yet"),
    ],
)
def test_conditions_that_say_nothing_are_doubted(conditions: Any, pointer: str, message: str) -> None:
    assert message in warnings(conditions=conditions)[pointer]


@pytest.mark.parametrize("trigger", get_args(Trigger))
@pytest.mark.parametrize("kind", sorted(LABELS))
def test_every_pair_of_trigger_and_action_is_taken_unless_it_cannot_work(trigger: str, kind: str) -> None:
    more = {
        "tag_customer": {"tag": "watch"},
        "add_note": {"text": "Look."},
        "send_email": {"to": "owner@shop.example", "subject": "Look"},
        "send_slack": {"url": "https://hooks.slack.com/services/x"},
        "send_webhook": {"webhook_id": str(ENDPOINT)},
    }
    found = errors(trigger=trigger, actions=[{"type": kind, **more.get(kind, {})}])
    if kind in ORDER_ACTIONS and "order" not in CONTEXTS[trigger]:
        assert found == {"/actions/0/type": f"{kind} needs an order, and {trigger} has none"}
    elif (kind, trigger) in {
        ("recalculate_score", "score_updated"),
        ("block_customer", "customer_blocked"),
        ("unblock_customer", "customer_unblocked"),
        ("allowlist_customer", "customer_allowlisted"),
        ("cancel_order", "order_cancelled"),
    }:
        assert found == {"/actions/0/type": f"{kind} leads to {trigger}: the rule would trigger itself"}
    else:
        assert found == {}


@pytest.mark.parametrize(
    ("action", "pointer", "message"),
    [
        ({**WEBHOOK, "url": "http://crm.example"}, "/actions/0/url", "url must begin with https://"),
        ({**WEBHOOK, "url": "https://10.0.0.1"}, "/actions/0/url", "address"),
        ({**WEBHOOK, "url": "https://hooks.slack.com/x"}, "/actions/0/url", "use send_slack"),
        (
            {"type": "send_webhook", "webhook_id": str(UUID(int=9))},
            "/actions/0/webhook_id",
            "there is no such endpoint",
        ),
        ({"type": "send_webhook"}, "/actions/0/url", "is missing"),
        ({"type": "dance"}, "/actions/0", "dance is no action"),
        ({"tag": "x"}, "/actions/0", "must be an object with a type"),
        ("block_customer", "/actions/0", "must be an object with a type"),
        ({"type": "tag_customer", "tag": " "}, "/actions/0/tag", "at least 1 character"),
        ({"type": "tag_customer", "tag": "a\nb"}, "/actions/0/tag", "line breaks"),
        ({"type": "block_customer", "reason": "x" * 501}, "/actions/0/reason", "at most 500 characters"),
        ({"type": "block_customer", "tag": "x"}, "/actions/0/tag", "is not known here"),
        ({"type": "add_note", "text": "a\0"}, "/actions/0/text", "NUL"),
        (
            {"type": "send_email", "to": "a@b.example, c@d.example", "subject": "x"},
            "/actions/0/to",
            "one e-mail address",
        ),
        ({"type": "send_email", "to": "jane", "subject": "x"}, "/actions/0/to", "one e-mail address"),
        ({"type": "send_email", "to": "a@b.example", "subject": "x\ny"}, "/actions/0/subject", "line breaks"),
        ({"type": "send_email", "to": "a@b.example", "subject": ""}, "/actions/0/subject", "at least 1 character"),
        (
            {"type": "send_slack", "url": "https://hooks.slack.com/x", "text": "x" * 3001},
            "/actions/0/text",
            "at most 3000",
        ),
    ],
)
def test_an_action_that_cannot_be_done_is_refused(action: Any, pointer: str, message: str) -> None:
    found = errors(actions=[action])
    assert list(found) == [pointer]
    assert message in found[pointer]


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        ({"actions": [{**WEBHOOK, "secret": "short"}]}, "/actions/0/secret", "shorter than 32 characters"),
        ({"actions": [{"type": "send_webhook", "webhook_id": str(OFF)}]}, "/actions/0/webhook_id", "is off"),
        ({"actions": [{"type": "send_slack", "url": "https://chat.example/x"}]}, "/actions/0/url", "is not Slack"),
        ({"cooldown": 0, "actions": [WEBHOOK]}, "/cooldown", "send_webhook is done at every order_placed"),
        ({"actions": [{"type": "cancel_order"}]}, "/conditions", "cancel_order is done to every customer"),
        ({"actions": [NOTE, NOTE]}, "/actions/1", "the same as action 0"),
        (
            {"actions": [{"type": "block_customer"}, {"type": "unblock_customer"}], "trigger": "checkout_blocked"},
            "/actions/1/type",
            "undoes block_customer",
        ),
        ({"actions": [{"type": "cancel_order"}, {"type": "hold_order"}]}, "/actions/1/type", "cancelled by then"),
        (
            {"conditions": leaf("is_blocked", "=", True), "actions": [{"type": "block_customer"}]},
            "/actions/0/type",
            "the customer is blocked already whenever this rule fires",
        ),
        (
            {"trigger": "customer_blocked", "actions": [{"type": "allowlist_customer"}]},
            "/actions/0/type",
            "a blocked customer is not allowlisted",
        ),
        (
            {
                "trigger": "score_updated",
                "actions": [{"type": "block_customer"}],
                "conditions": leaf("segment", "=", "risk"),
            },
            "/actions/0/type",
            "a condition may exclude is_blocked = true",
        ),
        (
            {"trigger": "order_status_changed", "actions": [{"type": "hold_order"}]},
            "/actions/0/type",
            "a condition may exclude order.status = on-hold",
        ),
    ],
)
def test_what_is_doubtful_is_a_warning(changes: Any, pointer: str, message: str) -> None:
    assert message in warnings(**changes)[pointer]


def test_what_the_store_lacks_for_an_action_is_a_warning() -> None:
    bare = Shop(has_mail_server=False, has_order_access=False)
    actions = [{"type": "send_email", "to": "a@b.example", "subject": "x"}, {"type": "hold_order"}]
    found = warnings(bare, actions=actions, trigger="high_risk_order")
    assert "no mail server" in found["/actions/0/type"]
    assert "REST API keys" in found["/actions/1/type"]
    assert not warnings(actions=actions, trigger="high_risk_order")


def test_a_rule_that_excludes_its_own_effect_is_not_doubted() -> None:
    conditions = {"all": [leaf("trust_score", "<", 20), leaf("is_blocked", "=", False)]}
    assert not warnings(trigger="score_updated", conditions=conditions, actions=[{"type": "block_customer"}])


@pytest.mark.parametrize(
    "given", [None, [], 1, "x", {}, {"name": 1}, {"actions": None}, {"conditions": [[]]}, {"conditions": {"all": 1}}]
)
def test_whatever_comes_is_judged_and_breaks_nothing(given: object) -> None:
    rule, found = read(given, Reach(), SHOP)
    assert rule is None
    assert found.errors


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": "a\0"}, "/name"),
        ({"name": "\ud800"}, "/name"),
        ({"name": "x" * 1_000_000}, "/name"),
        ({"description": "x" * 2001}, "/description"),
        ({"cooldown": 2_592_001}, "/cooldown"),
        ({"cooldown": 1.5}, "/cooldown"),
        ({"hourly_limit": 0}, "/hourly_limit"),
        ({"mode": "on"}, "/mode"),
        ({"trigger": "customer_erased"}, "/trigger"),
        ({"actions": []}, "/actions"),
        ({"actions": [NOTE] * 11}, "/actions"),
        ({"conditions": {"all": [leaf("trust_score", "<", 50)] * 51}}, "/conditions/all"),
        ({"conditions": {"all": [{"any": [leaf("trust_score", "<", 50)] * 26}] * 2}}, "/conditions"),
        ({"priority/~": 1}, "/priority~1~0"),
    ],
)
def test_what_a_rule_cannot_be_is_refused_at_its_place(changes: dict[str, Any], pointer: str) -> None:
    assert list(errors(**changes)) == [pointer]


def test_a_thousand_levels_are_refused() -> None:
    tree: Any = leaf("trust_score", "<", 1)
    for _ in range(1000):
        tree = {"not": tree}
    assert errors(conditions=tree)


def test_the_largest_rule_is_judged_within_a_second() -> None:
    half = {"any": [leaf("trust_score", "in", [*range(0, 101, n + 1)]) for n in range(25)]}
    other = {"any": [leaf("score_delta", "in", [*range(-100, 101, n + 2)]) for n in range(25)]}
    began = time.process_time()
    report(trigger="segment_changed", conditions={"all": [half, other]})
    report(trigger="segment_changed", conditions={"all": [half, {"not": half}]})
    assert time.process_time() - began < 1


def test_a_rule_is_read_as_it_is_when_nothing_is_wrong() -> None:
    rule, _ = read({"name": "A rule", "trigger": "order_placed", "actions": [NOTE]}, Reach(), SHOP)
    assert isinstance(rule, NewRule)
