"""Values that requests carry and answers tell, with the JSON Schema that says exactly what of them is meant."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainSerializer, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from shared.jsontext import api_time

# Times ----------------------------------------------------------------------------------------------------------------

_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_HOUR = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,6})?)?"
_OFFSET = "(?:Z|[+ -](?:0[0-9]|1[0-4]):[0-5][0-9])"
_TIME = re.compile(f"({_DAY})(?:[T ]({_HOUR})({_OFFSET})?)?")


def _time(given: Any) -> datetime:
    """UTC where it is written without an offset. A blank before an offset was a plus that the caller did not encode."""
    match = _TIME.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise ValueError("must be a time like 2026-01-31 23:59:59 or 2026-01-31T23:59:59Z")
    day, hour, offset = match.groups()
    at = datetime.fromisoformat(f"{day}T{hour or '00:00'}{(offset or 'Z').replace(' ', '+')}")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies too far from the present") from None


Time = Annotated[
    datetime,
    BeforeValidator(_time),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_TIME.pattern}$", "examples": ["2026-01-31 23:59:59", "2026-01-31"]},
        mode="validation",
    ),
]
"""A day of the calendar, perhaps with a time of it, as ISO 8601 and our own answers write them."""
Moment = Annotated[
    datetime,
    PlainSerializer(api_time),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$",
            "examples": ["2026-06-04 11:07:00"],
        },
        mode="serialization",
    ),
]
"""`Y-m-d H:i:s`, UTC."""

# Texts ----------------------------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """
    Raises:
        ValueError: it has line breaks or control characters.
    """
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


STORABLE = r"^[^\x00]*$"
"""What any text must be like: Postgres has no NUL."""
_BLANKS = r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*"
"""What is stripped. In full, because no two kinds of regular expressions mean the same by \\s."""


@dataclass(frozen=True, slots=True)
class Line:
    """A text with something beside blanks in it, of at most so many characters as it is sent. For printable ones."""

    most: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.chain_schema([core_schema.str_schema(max_length=self.most), handler(source)])

    def __get_pydantic_json_schema__(self, _: core_schema.CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        shown = r"[^\p{C}\p{Z}]"
        pattern = rf"^{_BLANKS}{shown}(?:(?:{shown}| )*{shown})?{_BLANKS}$"
        return {"type": "string", "minLength": 1, "maxLength": self.most, "pattern": pattern}


EMAIL = WithJsonSchema({"type": "string", "format": "email", "minLength": 3, "maxLength": 254}, mode="validation")
"""Tells of an address that is taken."""


# Ids ------------------------------------------------------------------------------------------------------------------

Id = Annotated[UUID, PlainSerializer(str), WithJsonSchema({"type": "string", "format": "uuid"}, mode="serialization")]

_HASH = re.compile(r"[0-9a-f]{64}")


def thing(text: str) -> str | None:
    """An id or a customer's hash as answers have it, in whatever way of those that are understood it is written.

    None: it is neither.
    """
    try:
        return str(UUID(text))
    except ValueError:
        return text.lower() if _HASH.fullmatch(text.lower()) else None


def owned(name: str) -> WithJsonSchema:
    """Tells of what its owner validates: `Model` or `Model.field` of owned.json."""
    return WithJsonSchema({"x-owned": name})
