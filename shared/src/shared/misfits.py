"""What of a condition does not fit its fields, though it can be read: the context, the operator, the value.

For rules and for endpoint filters. Whether a condition that fits can ever hold is another question.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from typing import assert_never

from shared.conditions import All, AnyOf, Condition, Leaf, Not, Operator
from shared.fields import SPECS, FieldSpec, FieldType, Group, Scalar
from shared.identity import normalise_email
from shared.mistakes import Problem

Path = tuple[str | int, ...]

MAX_TAG = 64
"""Characters, as the scorer takes them."""

_SAME: tuple[Operator, ...] = ("=", "!=", "in", "not_in")
OPERATORS: Mapping[FieldType, tuple[Operator, ...]] = {
    "integer": ("=", "!=", "<", "<=", ">", ">=", "in", "not_in"),
    "number": ("=", "!=", "<", "<=", ">", ">=", "in", "not_in"),
    "boolean": ("=", "!="),
    "text": (*_SAME, "contains"),
    "segment": _SAME,
    "texts": ("contains",),
}


def operators(spec: FieldSpec) -> tuple[Operator, ...]:
    """Those that a field takes. One whose values are all known is not searched for parts of them."""
    return _SAME if spec.choices else OPERATORS[spec.type]


def leaves(condition: Condition | None, path: Path = ()) -> Iterator[tuple[Path, Leaf]]:
    """Each with its place."""
    match condition:
        case None:
            return
        case Leaf():
            yield path, condition
        case All():
            for n, part in enumerate(condition.all):
                yield from leaves(part, (*path, "all", n))
        case AnyOf():
            for n, part in enumerate(condition.any):
                yield from leaves(part, (*path, "any", n))
        case Not():
            yield from leaves(condition.not_, (*path, "not"))
        case _:
            assert_never(condition)


def misfits(condition: Condition | None, path: Path) -> Iterator[Problem]:
    """Operators and values that do not fit their fields."""
    for place, leaf in leaves(condition, path):
        yield from _misfits(place, leaf)


def strangers(condition: Condition | None, groups: Collection[Group], path: Path) -> Iterator[tuple[Problem, Group]]:
    """The fields that events with these groups do not have, and what they would need."""
    for place, leaf in leaves(condition, path):
        group = SPECS[leaf.field].group
        if group not in groups:
            yield Problem((*place, "field"), f"{leaf.field} needs {NEEDED[group]}"), group


NEEDED: Mapping[Group, str] = {
    "customer": "a customer",
    "order": "an order",
    "change": "a change of score",
    "refund": "a refund",
    "dispute": "a dispute",
}


def _misfits(path: Path, leaf: Leaf) -> Iterator[Problem]:
    spec = SPECS[leaf.field]
    allowed = operators(spec)
    if leaf.operator not in allowed:
        yield Problem((*path, "operator"), f"{spec.name} takes {_listed(allowed)}")
        return
    wrong = _part_problem if leaf.operator == "contains" and spec.type == "text" else _value_problem
    if isinstance(leaf.value, tuple):
        for n, value in enumerate(leaf.value):
            if problem := wrong(spec, value):
                yield Problem((*path, "value", n), f"{spec.name} {problem}")
    elif problem := wrong(spec, leaf.value):
        yield Problem((*path, "value"), f"{spec.name} {problem}")


def _listed(names: Collection[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _value_problem(spec: FieldSpec, value: Scalar) -> str | None:
    """What the field is, where the value is no value of it."""
    match spec.type:
        case "boolean":
            return None if isinstance(value, bool) else "is true or false"
        case "integer":
            return _range_problem(spec, value) if _is_whole(value) else "is a whole number"
        case "number":
            return _range_problem(spec, value) if _is_number(value) else "is a number"
        case "segment" | "text" | "texts":
            return _text_problem(spec, value) if isinstance(value, str) else "is a text"
        case _:
            assert_never(spec.type)


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_whole(value: Scalar) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool) and value == int(value)


def _range_problem(spec: FieldSpec, value: Scalar) -> str | None:
    if not isinstance(value, int | Decimal):
        return None
    if spec.minimum is not None and value < spec.minimum and spec.maximum is None:
        return f"is never below {spec.minimum}"
    if spec.minimum is not None and spec.maximum is not None and not spec.minimum <= value <= spec.maximum:
        return f"goes from {spec.minimum} to {spec.maximum}"
    return None


def _text_problem(spec: FieldSpec, value: str) -> str | None:
    if spec.choices:
        return None if value in spec.choices else f"is {_listed(spec.choices)}"
    fits, form = _FORMS.get(spec.name, (None, ""))
    return form if fits and not fits(value) else None


def _part_problem(spec: FieldSpec, value: Scalar) -> str | None:
    """Of a part of a text: it is written as the whole is."""
    if not isinstance(value, str):
        return "is a text"
    if not value:
        return "takes a part that is not empty"
    written = _CASES.get(spec.name)
    return _FORMS[spec.name][1] if written and value != written(value) else None


def _is_domain(text: str) -> bool:
    try:
        return "@" not in text and normalise_email(f"a@{text}") == f"a@{text}"
    except ValueError:
        return False


def _is_tag(text: str) -> bool:
    return 0 < len(text) <= MAX_TAG and text == text.strip() and text.isprintable()


_COUNTRY = (re.compile(r"([A-Z]{2})?").fullmatch, "is two capital letters, such as DE, or empty")
_FORMS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "order.currency": (re.compile(r"[A-Z]{3}").fullmatch, "is three capital letters, such as EUR"),
    "order.billing_country": _COUNTRY,
    "order.shipping_country": _COUNTRY,
    "order.status": (
        re.compile(r"(?!wc-)[a-z0-9_-]{1,40}").fullmatch,
        "is a status in lower case and without wc-, such as on-hold",
    ),
    "email_domain": (_is_domain, "is a domain in lower case and in its ASCII form, such as example.com"),
    "tags": (_is_tag, f"holds texts of 1 to {MAX_TAG} characters without blanks around them"),
}
"""How texts that are not just any text are written."""
_CASES: Mapping[str, Callable[[str], str]] = {
    "order.currency": str.upper,
    "order.billing_country": str.upper,
    "order.shipping_country": str.upper,
    "order.status": str.lower,
    "email_domain": str.lower,
}
