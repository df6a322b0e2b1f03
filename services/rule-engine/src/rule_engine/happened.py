"""Events as they were published, read only as far as one rule asks: a third of the time that whole ones take.

Of the fields it asks for, the values are those that fields_of finds in the whole event: the parts that are read are
made of the wire models' own fields.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import SchemaValidator
from pydantic_core.core_schema import (
    TypedDictField,
    TypedDictSchema,
    nullable_schema,
    typed_dict_field,
    typed_dict_schema,
)

from shared.events import Cause, Change, Dispute, OrderInfo, Refund, Snapshot, Wire
from shared.fields import SPECS, Fields, Group, Value

Place = tuple[datetime, int, UUID]
"""(recorded_at, sequence, id): the order in which events are played."""


class Kept(NamedTuple):
    """An event as the scorer keeps it."""

    place: Place
    email_hash: str
    body: bytes


class Customer(NamedTuple):
    email_hash: str


class Chain(NamedTuple):
    depth: int


class Order(NamedTuple):
    id: int
    total: Decimal
    currency: str


class Happened(NamedTuple):
    """What depth, cooldown and hourly limit are decided by, named as an Event has it; and its order."""

    id: UUID
    recorded_at: datetime
    sequence: int
    customer: Customer
    cause: Chain
    order: Order | None
    fields: Fields
    """Those that the rule asks for."""


def reader(asked: Collection[str]) -> Callable[[Kept], Happened]:
    """Reads events for a rule that asks for these fields. The reader raises ValidationError of what is no event."""
    names = {group: {_own(name) for name in asked if SPECS[name].group == group} for group in _MODELS}
    validate = SchemaValidator(_event(names)).validate_json
    unsaid = _defaults(Snapshot, names["customer"])
    parts = [(group, _part_reader(group, names[group])) for group in _MODELS if names[group] and group != "customer"]

    def read(kept: Kept) -> Happened:
        told = validate(kept.body)
        data: Mapping[str, Any] = told["data"]
        fields: dict[str, Value | None] = {**unsaid, **told["customer"]}
        for group, part_of in parts:
            if part := data.get(group):
                fields |= part_of(part)
        at, sequence, event_id = kept.place
        order = data.get("order")
        return Happened(
            event_id,
            at,
            sequence,
            Customer(kept.email_hash),
            Chain(told["cause"].get("depth", 0)),
            Order(order["id"], order["total"], order["currency"]) if order else None,
            fields,
        )

    return read


_MODELS: Mapping[Group, type[Wire]] = {
    "customer": Snapshot,
    "order": OrderInfo,
    "change": Change,
    "refund": Refund,
    "dispute": Dispute,
}


def _own(field: str) -> str:
    """A field's name within its group."""
    return field.rpartition(".")[2]


def _part_reader(group: Group, names: Collection[str]) -> Callable[[Mapping[str, Any]], dict[str, Value | None]]:
    if group == "change":
        return lambda part: {**part, "score_delta": part["new_score"] - part["old_score"]}
    unsaid = _defaults(_MODELS[group], names)
    return lambda part: {f"{group}.{name}": part.get(name, unsaid.get(name)) for name in names}


def _defaults(model: type[Wire], names: Collection[str]) -> dict[str, Any]:
    fields = {name: model.model_fields[name] for name in names}
    return {name: field.get_default() for name, field in fields.items() if not field.is_required()}


def _event(names: Mapping[Group, Collection[str]]) -> TypedDictSchema:
    """Without the parts that nobody asks for. An order is always read: what it was worth is counted."""
    read = {
        "order": _part(OrderInfo, {*names["order"], *Order._fields}),
        "change": _part(Change, Change.model_fields if names["change"] else ()),
        "refund": _part(Refund, names["refund"]),
        "dispute": _part(Dispute, names["dispute"]),
    }
    data = {
        group: typed_dict_field(nullable_schema(part), required=False) for group, part in read.items() if part["fields"]
    }
    return typed_dict_schema(
        {
            "customer": typed_dict_field(_part(Snapshot, names["customer"])),
            "data": typed_dict_field(typed_dict_schema(data)),
            "cause": typed_dict_field(_part(Cause, ("depth",))),
        }
    )


def _part(model: type[Wire], names: Collection[str]) -> TypedDictSchema:
    return typed_dict_schema({name: _field(model.model_fields[name]) for name in names})


def _field(field: FieldInfo) -> TypedDictField:
    annotation: Any = field.annotation
    return typed_dict_field(TypeAdapter(annotation).core_schema, required=field.is_required())
