"""The one condition language: a tree over the fields of an event, for rules and for endpoint filters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field

from shared.events import Event

MAX_DEPTH = 5
MAX_LEAVES = 50

Scalar = bool | int | Decimal | str
Value = Scalar | tuple[str, ...]
Fields = Mapping[str, Value | None]
"""Field name to value; a name that is absent or None has no value in this event."""

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not_in", "contains"]


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Leaf(_Node):
    field: str = Field(min_length=1, max_length=64)
    operator: Operator
    value: bool | int | Decimal | str | tuple[int | Decimal | str, ...]


class All(_Node):
    all: "tuple[Condition, ...]" = Field(max_length=MAX_LEAVES)


class AnyOf(_Node):
    any: "tuple[Condition, ...]" = Field(max_length=MAX_LEAVES)


class Not(_Node):
    not_: "Condition" = Field(alias="not")


Condition = Leaf | All | AnyOf | Not


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
        holds = False
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


def _show(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


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


def fields_of(event: Event) -> Fields:
    """Every condition field that an event has a value for (names of the rule language)."""
    fields: dict[str, Value | None] = {name: getattr(event.customer, name) for name in _CUSTOMER}
    if order := event.data.order:
        fields |= {f"order.{name}": getattr(order, name) for name in _ORDER}
    if change := event.data.change:
        fields |= {
            "old_segment": change.old_segment,
            "new_segment": change.new_segment,
            "old_score": change.old_score,
            "new_score": change.new_score,
            "score_delta": change.new_score - change.old_score,
        }
    if refund := event.data.refund:
        fields["refund.amount"] = refund.amount
    return fields


_CUSTOMER = (
    "trust_score",
    "segment",
    "is_blocked",
    "is_allowlisted",
    "total_orders",
    "total_order_value",
    "total_refunds",
    "total_refund_value",
    "full_refunds",
    "return_rate",
    "cancelled_orders",
    "account_age_days",
    "days_since_last_order",
    "tags",
    "email_domain",
)
_ORDER = ("total", "currency", "status", "item_count", "payment_method", "billing_country", "shipping_country")
_CHANGE = ("old_segment", "new_segment", "old_score", "new_score", "score_delta")
FIELDS = frozenset((*_CUSTOMER, *(f"order.{name}" for name in _ORDER), *_CHANGE, "refund.amount"))
"""Every field name a condition may use."""
