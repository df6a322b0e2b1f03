"""The one condition language: a tree over the fields of an event, for rules and for endpoint filters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Annotated, Literal, Self, assert_never

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    field_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared.fields import FIELDS, Fields, Scalar

MAX_DEPTH = 5
MAX_LEAVES = 50
MAX_TEXT = 500
MAX_LIST = 500
SHOWN_ITEMS = 5
SHOWN_TEXT = 100

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not_in", "contains"]


def _known(field: str) -> str:
    if field not in FIELDS:
        raise PydanticCustomError("unknown_field", "there is no field {field}", {"field": field})
    return field


def _value(given: object) -> Scalar | tuple[Scalar, ...]:
    """A value as JSON has it. By hand, because a union of types would read 1.0 as true."""
    if isinstance(given, list | tuple):
        if len(given) > MAX_LIST:
            raise PydanticCustomError("long_list", "has more than {most} values", {"most": MAX_LIST})
        return tuple(_scalar(item) for item in given)
    return _scalar(given)


def _scalar(given: object) -> Scalar:
    match given:
        case str() if len(given) > MAX_TEXT or "\0" in given:
            raise PydanticCustomError("long_text", "is longer than {most} characters, or has a NUL", {"most": MAX_TEXT})
        case bool() | int() | str() | Decimal():
            return given
        case float() if isfinite(given):
            return Decimal(str(given))  # the shortest decimal that means this float: what the author typed
        case _:
            raise PydanticCustomError("no_value", "must be true, false, a number, a text, or a list of these")


def _plain(value: Scalar) -> bool | int | float | str:
    return float(value) if isinstance(value, Decimal) else value


def _kind(given: object) -> str:
    """Which node this is, so that a mistake is told of that one only, at its path."""
    if isinstance(given, All | AnyOf | Not):
        return f"<{type(given).__name__.lower()}>"
    if isinstance(given, Mapping):
        return next((tag for key, tag in _KEYS.items() if key in given), "<leaf>")
    return "<leaf>"


_KEYS = {"all": "<all>", "any": "<anyof>", "not": "<not>"}


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Leaf(_Node):
    field: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_known)]
    operator: Operator
    value: Annotated[
        Scalar | tuple[Scalar, ...],
        PlainValidator(_value, json_schema_input_type=bool | float | str | list[bool | float | str]),
    ]

    @field_serializer("value")
    def _as_json(self, value: Scalar | tuple[Scalar, ...]) -> object:
        """Numbers as numbers: a Decimal would become a text, and a text is never greater than a number."""
        return [_plain(item) for item in value] if isinstance(value, tuple) else _plain(value)

    @model_validator(mode="after")
    def _list_where_one_belongs(self) -> Self:
        wants_list = self.operator in {"in", "not_in"}
        if wants_list != isinstance(self.value, tuple):
            wanted = "a list" if wants_list else "a single value"
            raise PydanticCustomError(
                "value_shape", "{operator} takes {wanted}", {"operator": self.operator, "wanted": wanted}
            )
        return self


class All(_Node):
    all: "tuple[Condition, ...]" = Field(max_length=MAX_LEAVES)


class AnyOf(_Node):
    any: "tuple[Condition, ...]" = Field(min_length=1, max_length=MAX_LEAVES)


class Not(_Node):
    not_: "Condition" = Field(alias="not")


Condition = Annotated[
    Annotated[Leaf, Tag("<leaf>")]
    | Annotated[All, Tag("<all>")]
    | Annotated[AnyOf, Tag("<anyof>")]
    | Annotated[Not, Tag("<not>")],
    Discriminator(_kind),
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition holds. When it does not, `reason` names the first part that decided it."""

    holds: bool
    reason: str = ""


HOLDS = Verdict(holds=True)


def check(condition: Condition | None, fields: Fields) -> Verdict:
    """Decide a condition; None always holds. A field without a value is not met, never an error."""
    match condition:
        case None:
            return HOLDS
        case Leaf():
            return _leaf(condition, fields)
        case All():
            return next((v for part in condition.all if not (v := check(part, fields)).holds), HOLDS)
        case AnyOf():
            return _any(condition, fields)
        case Not():
            inner = check(condition.not_, fields)
            return Verdict(holds=False, reason="not: the excluded condition holds") if inner.holds else HOLDS
        case _:
            assert_never(condition)


def _any(condition: AnyOf, fields: Fields) -> Verdict:
    verdicts = [check(part, fields) for part in condition.any]
    if any(v.holds for v in verdicts):
        return HOLDS
    return Verdict(holds=False, reason="none of: " + "; ".join(v.reason for v in verdicts))


def _leaf(leaf: Leaf, fields: Fields) -> Verdict:
    actual = fields.get(leaf.field)
    if actual is None:
        return Verdict(holds=False, reason=f"{leaf.field}: no value in this event")
    try:
        holds = _OPERATORS[leaf.operator](actual, leaf.value)
    except TypeError:
        return Verdict(holds=False, reason=f"{leaf.field} {_show(actual)} cannot be compared with {_show(leaf.value)}")
    if holds:
        return HOLDS
    return Verdict(holds=False, reason=f"{leaf.field} {leaf.operator} {_show(leaf.value)}: actual {_show(actual)}")


def _contains(actual: object, wanted: object) -> bool:
    return isinstance(actual, str | tuple) and wanted in actual


_OPERATORS: dict[str, Callable[[object, object], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,  # type: ignore[operator]  # a mismatch is TypeError, and "not met"
    "<=": lambda a, b: a <= b,  # type: ignore[operator]  # as above
    ">": lambda a, b: a > b,  # type: ignore[operator]  # as above
    ">=": lambda a, b: a >= b,  # type: ignore[operator]  # as above
    "in": lambda a, b: isinstance(b, tuple) and a in b,
    "not_in": lambda a, b: isinstance(b, tuple) and a not in b,
    "contains": _contains,
}


def _show(value: Scalar | tuple[Scalar, ...]) -> str:
    """In short: the reason is stored with every event."""
    if not isinstance(value, tuple):
        return str(value).lower() if isinstance(value, bool) else str(value)[:SHOWN_TEXT]
    shown = ", ".join(_show(item) for item in value[:SHOWN_ITEMS])
    return f"{shown} and {len(value) - SHOWN_ITEMS} more" if len(value) > SHOWN_ITEMS else shown


def too_large(condition: Condition | None) -> str | None:
    """Why a condition exceeds the bounds (50 leaves, depth 5), or None."""
    if condition is None:
        return None
    if _depth(condition) > MAX_DEPTH:
        return f"conditions are nested deeper than {MAX_DEPTH}"
    if _leaves(condition) > MAX_LEAVES:
        return f"more than {MAX_LEAVES} conditions"
    return None


def _parts(condition: Condition) -> tuple[Condition, ...]:
    match condition:
        case Leaf():
            return ()
        case All():
            return condition.all
        case AnyOf():
            return condition.any
        case Not():
            return (condition.not_,)
        case _:
            assert_never(condition)


def _depth(condition: Condition) -> int:
    return 1 + max((_depth(part) for part in _parts(condition)), default=0)


def _leaves(condition: Condition) -> int:
    return isinstance(condition, Leaf) + sum(_leaves(part) for part in _parts(condition))


def fields_named(condition: Condition | None) -> frozenset[str]:
    """The fields that a condition asks for."""
    match condition:
        case None:
            return frozenset()
        case Leaf():
            return frozenset((condition.field,))
        case _:
            return frozenset[str]().union(*(fields_named(part) for part in _parts(condition)))
