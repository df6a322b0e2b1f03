"""All that a form for rules is built from: `GET /rules/schema`."""

from typing import Any, get_args

from rule_engine.actions import LABELS, ORDER_ACTIONS
from rule_engine.rules import MAX_ACTIONS, MAX_PER_HOUR, MONTH, NewRule, Trigger
from shared.conditions import MAX_DEPTH, MAX_LEAVES, MAX_LIST, MAX_TEXT, MAX_VALUES, Operator
from shared.fields import CONTEXTS, SPECS, FieldSpec
from shared.misfits import operators

TRIGGERS = {
    "score_updated": "The trust score was calculated",
    "segment_changed": "The segment changed",
    "customer_blocked": "A customer was blocked",
    "customer_unblocked": "A customer was unblocked",
    "customer_allowlisted": "A customer was put on the allowlist",
    "customer_allowlist_removed": "A customer was taken off the allowlist",
    "checkout_blocked": "A blocked customer tried to check out",
    "high_risk_order": "A Risk or Critical customer placed an order",
    "order_placed": "An order was placed",
    "order_status_changed": "The status of an order changed",
    "order_refunded": "An order was refunded",
    "order_cancelled": "An order was cancelled",
    "chargeback_filed": "A chargeback was filed",
    "chargeback_closed": "A chargeback was won or lost",
    "linked_accounts_detected": "A linked account was found",
    "shipping_anomaly_detected": "Unusual shipping addresses were found",
    "card_testing_detected": "Stolen cards were being tested",
}
OPERATORS: dict[Operator, str] = {
    "=": "is",
    "!=": "is not",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
    "in": "is one of",
    "not_in": "is none of",
    "contains": "contains",
}


def schema() -> dict[str, Any]:
    json_schema = NewRule.model_json_schema()
    return {
        "json_schema": json_schema,
        "triggers": [
            {"name": name, "label": TRIGGERS[name], "groups": sorted(CONTEXTS[name])} for name in get_args(Trigger)
        ],
        "fields": [_field(spec) for spec in SPECS.values()],
        "operators": [
            {"name": name, "label": label, "takes": "list" if name in {"in", "not_in"} else "value"}
            for name, label in OPERATORS.items()
        ],
        "actions": [_action(kind, json_schema) for kind in LABELS],
        "limits": {
            "depth": MAX_DEPTH,
            "conditions": MAX_LEAVES,
            "values": MAX_LIST,
            "all_values": MAX_VALUES,
            "text": MAX_TEXT,
            "actions": MAX_ACTIONS,
            "cooldown": MONTH,
            "hourly_limit": MAX_PER_HOUR,
        },
    }


def _field(spec: FieldSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "label": spec.label,
        "type": spec.type,
        "group": spec.group,
        "operators": list(operators(spec)),
        "minimum": spec.minimum,
        "maximum": spec.maximum,
        "choices": list(spec.choices),
        "missing": spec.missing,
    }


def _action(kind: str, json_schema: dict[str, Any]) -> dict[str, Any]:
    """`parameters`: the ways to give them, each as JSON Schema has properties; `send_webhook` has two."""
    ways = [
        {
            "properties": {name: of for name, of in form["properties"].items() if name not in _NOT_ASKED},
            "required": [name for name in form["required"] if name not in _NOT_ASKED],
        }
        for form in json_schema["$defs"].values()
        if kind in _kinds(form)
    ]
    return {
        "type": kind,
        "label": LABELS[kind],
        "needs": "order" if kind in ORDER_ACTIONS else None,
        "parameters": ways,
    }


_NOT_ASKED = ("type", "target_id")


def _kinds(form: dict[str, Any]) -> list[str]:
    """The actions that a definition of the JSON Schema is about."""
    of_type = form["properties"].get("type", {})
    return [of_type["const"]] if "const" in of_type else of_type.get("enum", [])
