"""JSON text in which amounts keep their decimals: 249.00 stays 249.00."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from json.encoder import encode_basestring
from types import NoneType
from typing import Any

_THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})  # ISO 4217, minor unit 3


def in_currency(amount: Decimal, currency: str) -> Decimal:
    """The amount with two decimals, or the currency's own number where that is more."""
    exponent = Decimal("0.001") if currency.upper() in _THREE_DECIMALS else Decimal("0.01")
    return amount.quantize(exponent, rounding=ROUND_HALF_UP)


def api_time(at: datetime) -> str:
    """A time as the API writes it: `Y-m-d H:i:s`, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def dumps(value: object) -> str:
    """Compact JSON like json.dumps, with each Decimal written digit by digit as a number."""
    return _WRITTEN.get(type(value), _written)(value)


def _written(value: object) -> str:
    """What is seldom in a body: asking for classes is slow."""
    match value:
        case str():
            return encode_basestring(value)
        case Decimal():
            return format(value, "f")
        case Mapping():
            return _object(value)
        case Sequence():
            return "[" + ",".join([dumps(item) for item in value]) + "]"
        case _:
            return _encoded(value)


def _object(value: Mapping[Any, object]) -> str:
    items = [_key(str(key)) + _WRITTEN.get(type(item), _written)(item) for key, item in value.items()]
    return "{" + ",".join(items) + "}"


@lru_cache(maxsize=1024)
def _key(key: str) -> str:
    return f"{encode_basestring(key)}:"


_WRITTEN: Mapping[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: str,
    bool: {True: "true", False: "false"}.__getitem__,
    NoneType: lambda _: "null",
    Decimal: "{:f}".format,
    dict: _object,
}
_encoded = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
"""For what is seldom in a body: it makes an encoder for each value, which takes longer than all of the rest."""
