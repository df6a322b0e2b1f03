"""What is said of the fields is what events really have."""

from decimal import Decimal
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from rule_engine.rules import Trigger
from scorer.scoring import Segments
from shared.conditions import Operator
from shared.events import LOWEST_SCORES, SEGMENTS, Change, Dispute, EventData, OrderInfo, Refund, Snapshot, WebhookEvent
from shared.fields import CONTEXTS, SPECS, TRIGGERS, FieldSpec, Group, fields_of
from shared.misfits import OPERATORS, operators
from support.events import event, order, snapshot

PARTS: dict[str, Any] = {
    "order": order(),
    "change": Change(old_score=60, new_score=40, old_segment="normal", new_segment="caution"),
    "refund": Refund(id=1, amount=Decimal(10)),
    "dispute": Dispute(id="d", amount=Decimal(10), currency="USD", status="open"),
}


@pytest.mark.parametrize("trigger", CONTEXTS)
def test_an_event_has_values_for_the_fields_of_its_groups(trigger: str) -> None:
    groups = CONTEXTS[trigger]
    told = EventData(**{name: part for name, part in PARTS.items() if name in groups})
    customer = snapshot(account_age_days=1, days_since_last_order=1)
    fields = fields_of(event(customer=customer, data=told))
    assert set(fields) == {spec.name for spec in SPECS.values() if spec.group in groups}
    assert None not in fields.values()


def test_every_trigger_and_every_event_of_an_endpoint_has_a_context() -> None:
    assert set(CONTEXTS) == set(get_args(Trigger)) | set(get_args(WebhookEvent)) - {"test"}
    assert get_args(Trigger) == TRIGGERS


def test_each_group_is_of_some_event() -> None:
    assert frozenset[Group]().union(*CONTEXTS.values()) == set(get_args(Group)) == {s.group for s in SPECS.values()}


_WIRE = {"customer": Snapshot, "order": OrderInfo, "change": Change, "refund": Refund, "dispute": Dispute}
_TYPES = {int: "integer", Decimal: "number", bool: "boolean", str: "text", tuple: "texts"}


@pytest.mark.parametrize("spec", [it for it in SPECS.values() if it.name != "score_delta"], ids=lambda it: it.name)
def test_a_field_has_the_type_that_it_has_on_the_wire(spec: FieldSpec) -> None:
    hint = get_type_hints(_WIRE[spec.group])[spec.name.removeprefix(f"{spec.group}.")]
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    optional = type(None) in get_args(hint)
    kind = kinds[0] if optional else hint
    if get_origin(hint) is tuple:
        kind = tuple
    if spec.choices:
        assert set(spec.choices) == set(get_args(kind))
    else:
        assert _TYPES[kind] == spec.type
    assert optional == bool(spec.missing)


def test_every_operator_is_of_some_field_and_known() -> None:
    assert {name for names in OPERATORS.values() for name in names} == set(get_args(Operator))
    assert all(operators(spec) for spec in SPECS.values())


def test_the_default_segments_are_the_scorer_s() -> None:
    assert tuple(LOWEST_SCORES) == SEGMENTS
    assert Segments().model_dump() | {"critical": 0} == LOWEST_SCORES
