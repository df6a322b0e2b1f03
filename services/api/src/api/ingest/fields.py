"""The values of what stores send: one strict reading of each kind, and a forgiving one for what may be missing."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from api.body import is_storable

MAX_LOOSE = 500
"""Characters of a text that nothing depends on; a longer one is no address, phone or payment."""
_AMOUNT = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,20})?")
_MAX_ID = 2**63 - 1
_YEARS = range(1990, 2200)
"""Beyond them no date is meant. The scorer notes what is before 2000, or ahead, and keeps it."""


def _text(value: str) -> str:
    if not is_storable(value):
        raise ValueError("holds a character that cannot be stored")
    return value


def _as_text(value: Any) -> Any:
    """PHP writes null for what was never set, and order number plugins write integers."""
    if value is None:
        return ""
    return str(value) if type(value) is int else value


def _whole(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would read true as 1
        raise ValueError("must be an integer")  # noqa: TRY004  # pydantic names the field of a ValueError only
    return value


def _amount(value: Any) -> Decimal:
    """A decimal string, or a number as some plugins write it; neither exponent nor NaN."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not _AMOUNT.fullmatch(text):
        raise ValueError("must be a decimal number with at most 15 digits before the point")
    return Decimal(text)


def _not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError("must not be negative")
    return abs(value)  # -0.00 becomes 0.00


def _utc(value: Any) -> datetime:
    """UTC where it is written without an offset, as *_gmt dates are."""
    if not isinstance(value, str):
        raise ValueError("must be a date and time like 2026-01-31T23:59:59")  # noqa: TRY004  # as in _whole
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a date and time like 2026-01-31T23:59:59") from None
    if at.year not in _YEARS:
        raise ValueError("lies too far from the present")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def nothing_is(empty: Callable[[], Any]) -> BeforeValidator:
    """What was never set: null, or [], PHP's only way to write an empty array, whatever it would have held."""
    return BeforeValidator(lambda value: empty() if value is None or value == [] else value)


def loose_text(value: Any, limit: int = MAX_LOOSE) -> str:
    """The stripped text, or "" for whatever else stands there: of use where it is right, no fault where it is not."""
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not is_storable(text):
        return ""
    stripped = text.strip()
    return stripped if len(stripped) <= limit else ""


def loose_time(value: Any) -> datetime | None:
    """The time, or None for whatever else stands there."""
    try:
        return _utc(value)
    except ValueError:
        return None


def loose_id(value: Any) -> int | None:
    """The id, or None for whatever else stands there, 0 too: WooCommerce's word for a product that is gone."""
    return value if type(value) is int and 0 < value <= _MAX_ID else None


Id = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=_MAX_ID)]
Text = Annotated[str, BeforeValidator(_as_text), AfterValidator(_text)]
ShortText = Annotated[Text, Field(max_length=200)]
Amount = Annotated[Decimal, BeforeValidator(_amount)]
NotNegative = Annotated[Amount, AfterValidator(_not_negative)]
Currency = Annotated[str, Field(pattern=r"^[A-Za-z]{3}$"), AfterValidator(str.upper)]
Time = Annotated[datetime, BeforeValidator(_utc)]
Number = Annotated[float, BeforeValidator(_whole), Field(allow_inf_nan=False)]
LooseText = Annotated[str, BeforeValidator(loose_text)]
LooseId = Annotated[int | None, BeforeValidator(loose_id)]
LooseTime = Annotated[datetime | None, BeforeValidator(loose_time)]
