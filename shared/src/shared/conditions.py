"""The one condition language: a tree over the fields of an event, for rules and for endpoint filters."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
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
    WithJsonSchema,
    field_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared.fields import FIELDS, SPECS, Fields, Group, Scalar, Value

MAX_DEPTH = 5
MAX_LEAVES = 50
MAX_TEXT = 500
MAX_LIST = 500
MAX_VALUES = 1000
"""Of all leaves together: a store's thousand rules of that size are read in about a second (measured: 1 us a value)."""
MAX_NUMBER = 10**15
"""No amount is larger (the api takes 15 digits), and a float still tells whole numbers of this size apart."""
SHOWN_ITEMS = 5
SHOWN_TEXT = 100
MAX_REASON = 300
"""Characters."""

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not_in", "contains"]


def _known(field: str) -> str:
    if field not in FIELDS:
        raise PydanticCustomError("unknown_field", "is not known: {field}", {"field": field})
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
        case str() if len(given) > MAX_TEXT or not _storable(given):
            problem = "is longer than {most} characters, or has one that cannot be stored"
            raise PydanticCustomError("long_text", problem, {"most": MAX_TEXT})
        case bool() | str():
            return given
        case int() | Decimal():
            return _bounded(given)
        case float() if isfinite(given):
            return _bounded(Decimal(str(given)))  # the shortest decimal that means this float: what the author typed
        case _:
            raise PydanticCustomError("no_value", "must be true, false, a number, a text, or a list of these")


def _bounded(number: int | Decimal) -> int | Decimal:
    if not -MAX_NUMBER <= number <= MAX_NUMBER:
        raise PydanticCustomError("large_number", "must be a number of at most {most}", {"most": MAX_NUMBER})
    return number


def _storable(text: str) -> bool:
    """Postgres has no NUL, and UTF-8 no half of a surrogate pair."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text))


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
    field: Annotated[
        str,
        Field(min_length=1, max_length=64),
        AfterValidator(_known),
        WithJsonSchema({"type": "string", "enum": sorted(FIELDS)}),
    ]
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
                "value_shape",
                "has a value that does not fit: {operator} takes {wanted}",
                {"operator": self.operator, "wanted": wanted},
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
    against = compiled(condition)(fields)
    return HOLDS if against is None else Verdict(holds=False, reason=in_words(against, fields))


@dataclass(frozen=True, slots=True)
class Unmet:
    """A leaf that does not hold, ready to be told."""

    field: str
    operator: Operator
    value: str
    """As it is shown."""


@dataclass(frozen=True, slots=True)
class Incomparable:
    """A leaf whose value is of another kind than the event's."""

    leaf: Unmet


@dataclass(frozen=True, slots=True)
class Excluded:
    """What a `not` excludes holds."""


Against = Unmet | Incomparable | Excluded | tuple["Against", ...]
"""What decided that a condition does not hold; of an `any`, what decided it of each part."""
Decide = Callable[[Fields], Against | None]
"""What is against a condition with these values; None: it holds."""


def compiled(condition: Condition | None) -> Decide:
    """For a condition that is decided again and again. Words are made only for what is shown: see in_words."""
    match condition:
        case None:
            return _of_leaves(())
        case Leaf():
            return _of_leaves((condition,))
        case All() if all(isinstance(part, Leaf) for part in condition.all):
            return _of_leaves([part for part in condition.all if isinstance(part, Leaf)])
        case All():
            return _of_all([compiled(part) for part in condition.all])
        case AnyOf():
            return _of_any([compiled(part) for part in condition.any])
        case Not():
            return _of_not(compiled(condition.not_))
        case _:
            assert_never(condition)


def _of_leaves(leaves: Sequence[Leaf]) -> Decide:
    """All of them, in one loop: nearly all conditions are such a list, and a call for each would cost as much again."""
    tests = tuple(
        (leaf.field, _TESTS[leaf.operator](_exact(leaf)), Unmet(leaf.field, leaf.operator, _show(leaf.value)))
        for leaf in leaves
    )

    def decide(fields: Fields) -> Against | None:
        for field, holds, unmet in tests:
            actual = fields.get(field)
            try:
                if actual is None or not holds(actual):
                    return unmet
            except TypeError:
                return Incomparable(unmet)
        return None

    return decide


def _of_all(parts: Sequence[Decide]) -> Decide:
    def decide(fields: Fields) -> Against | None:
        return next((against for part in parts if (against := part(fields)) is not None), None)

    return decide


def _of_any(parts: Sequence[Decide]) -> Decide:
    def decide(fields: Fields) -> Against | None:
        found: list[Against] = []
        for part in parts:
            against = part(fields)
            if against is None:
                return None
            found.append(against)
        return tuple(found)

    return decide


def _of_not(part: Decide) -> Decide:
    excluded = Excluded()

    def decide(fields: Fields) -> Excluded | None:
        return excluded if part(fields) is None else None

    return decide


_Value = Scalar | tuple[Scalar, ...]
_Test = Callable[[object], bool]


def _exact(leaf: Leaf) -> _Value:
    """An amount as a Decimal, since amounts are: comparing one with an int takes twice as long."""
    match leaf.value:
        case int() as value if not isinstance(value, bool) and SPECS[leaf.field].type == "number":
            return Decimal(value)
        case value:
            return value


def _among(value: _Value) -> _Test:
    return frozenset(value if isinstance(value, tuple) else ()).__contains__


def _not_among(value: _Value) -> _Test:
    values = frozenset(value if isinstance(value, tuple) else ())
    return lambda actual: actual not in values


def _containing(value: _Value) -> _Test:
    return lambda actual: isinstance(actual, str | tuple) and value in actual


_TESTS: Mapping[str, Callable[[_Value], _Test]] = {
    "=": lambda value: partial(operator.eq, value),
    "!=": lambda value: partial(operator.ne, value),
    "<": lambda value: partial(operator.gt, value),  # turned round: the condition's value comes first
    "<=": lambda value: partial(operator.ge, value),
    ">": lambda value: partial(operator.lt, value),
    ">=": lambda value: partial(operator.le, value),
    "in": _among,
    "not_in": _not_among,
    "contains": _containing,
}


def in_words(against: Against, fields: Fields) -> str:
    """In short: a store may have a thousand rules, and each says why with every event."""
    said = _said(against, fields)
    return said if len(said) <= MAX_REASON else said[: MAX_REASON - 1] + "…"


def _said(against: Against, fields: Fields) -> str:
    match against:
        case Unmet(field, operator, value):
            actual = fields.get(field)
            absent = actual is None
            return f"{field}: {_absence(field)}" if absent else f"{field} {operator} {value}: actual {_show(actual)}"
        case Incomparable(leaf):
            return f"{leaf.field} {_show(fields.get(leaf.field))} cannot be compared with {leaf.value}"
        case Excluded():
            return "not: the excluded condition holds"
        case tuple():
            shown = [_said(part, fields) for part in against[:SHOWN_ITEMS]]
            more = [f"and {len(against) - SHOWN_ITEMS} more"] if len(against) > SHOWN_ITEMS else []
            return "none of: " + "; ".join(shown + more)
        case _:
            assert_never(against)


def _absence(field: str) -> str:
    """Why an event has no value for a field."""
    return SPECS[field].missing or _ABSENT[SPECS[field].group]


_ABSENT: Mapping[Group, str] = {
    "customer": "no value in this event",
    "order": "no order in this event",
    "change": "no change of score in this event",
    "refund": "no refund in this event",
    "dispute": "no dispute in this event",
}


def asked(leaf: Leaf) -> str:
    """What a leaf asks, in short."""
    return f"{leaf.field} {leaf.operator} {_show(leaf.value)}"


def _show(value: Value | tuple[Scalar, ...] | None) -> str:
    """In short: the reason is stored with every event."""
    if not isinstance(value, tuple):
        return str(value).lower() if isinstance(value, bool) else str(value)[:SHOWN_TEXT] or '""'
    shown = ", ".join(_show(item) for item in value[:SHOWN_ITEMS]) or "none"
    return f"{shown} and {len(value) - SHOWN_ITEMS} more" if len(value) > SHOWN_ITEMS else shown


def too_large(condition: Condition | None) -> str | None:
    """Why a condition exceeds the bounds (50 leaves, depth 5, 1,000 values), or None."""
    if condition is None:
        return None
    if _depth(condition) > MAX_DEPTH:
        return f"must not be nested deeper than {MAX_DEPTH}"
    if _leaves(condition) > MAX_LEAVES:
        return f"must not hold more than {MAX_LEAVES} conditions"
    if _values(condition) > MAX_VALUES:
        return f"must not hold more than {MAX_VALUES:,} values in all"
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


def _values(condition: Condition) -> int:
    own = len(condition.value) if isinstance(condition, Leaf) and isinstance(condition.value, tuple) else 0
    return own + sum(_values(part) for part in _parts(condition))


def fields_named(condition: Condition | None) -> frozenset[str]:
    """The fields that a condition asks for."""
    match condition:
        case None:
            return frozenset()
        case Leaf():
            return frozenset((condition.field,))
        case _:
            return frozenset[str]().union(*(fields_named(part) for part in _parts(condition)))
