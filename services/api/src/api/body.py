"""Bytes of a request → a JSON object that is safe to look into, or what is wrong with it."""

import json
import math
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 32
"""Levels of nesting. An order has five; plugins' metadata a few more."""
MAX_INTEGER_BITS = 1023
"""An integer beyond the range of a double is no number that a shop counts or pays with."""
WHOLE = "body"
"""The name under which faults of the body as a whole are told."""
UNSTORABLE = "holds a character that cannot be stored"

Path = tuple[str, ...]


class BadBodyError(ValueError):
    """The body cannot be taken. `params`: field path to what is wrong with it."""

    def __init__(self, params: Mapping[str, str]) -> None:
        super().__init__(", ".join(params))
        self.params = dict(params)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Of a name that comes twice the last counts, as in PHP and JavaScript.

    Raises:
        BadBodyError: no UTF-8, no JSON, no object, nested too deep, or a number that is none.
    """
    value = decode_object(raw)
    check(value)
    return value


def decode_object(raw: bytes) -> dict[str, Any]:
    """Like `parse_object`, but what it holds is still to be checked.

    Raises:
        BadBodyError: no UTF-8, no JSON, no object.
    """
    value = _decode(raw)
    if not isinstance(value, dict):
        raise BadBodyError({WHOLE: "must be a JSON object"})
    return value


def check(value: Any) -> None:
    """
    Raises:
        BadBodyError: nested too deep, or a number that is none.
    """
    if fault := _fault(value, depth=1):
        path, message = fault
        raise BadBodyError({".".join(path) or WHOLE: message})


def parse_text_object(raw: bytes) -> dict[str, Any]:
    """Like `parse_object`, for a body that is passed on or stored whole: its text must fit Postgres.

    Raises:
        BadBodyError: as above, or a string holds a character that cannot be stored.
    """
    value = parse_object(raw)
    if (path := _unstorable(value)) is not None:
        raise BadBodyError({".".join(path) or WHOLE: UNSTORABLE})
    return value


def is_storable(text: str) -> bool:
    """Whether Postgres can store it: no NUL, no half of a surrogate pair."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))


def _decode(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadBodyError({WHOLE: "is not UTF-8"}) from None
    except RecursionError:
        raise BadBodyError({WHOLE: _too_deep()}) from None
    except json.JSONDecodeError as error:
        raise BadBodyError({WHOLE: f"is not JSON: {error.msg} at character {error.pos}"}) from None
    except ValueError:  # Python refuses to read an integer of more than 4,300 digits
        raise BadBodyError({WHOLE: "holds a number that is too large"}) from None


def _too_deep() -> str:
    return f"is nested deeper than {MAX_DEPTH} levels"


def _fault(value: Any, depth: int) -> tuple[Path, str] | None:
    """Where the first value lies that cannot be taken, and why. `depth` bounds the recursion."""
    if isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            return (), _too_deep()
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(item, str) or item is None:
                continue
            if fault := _fault(item, depth + 1):
                return (_shown(name), *fault[0]), fault[1]
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return (), "must be a finite number"
    if type(value) is int and value.bit_length() > MAX_INTEGER_BITS:
        return (), "is too large"
    return None


def _unstorable(value: Any) -> Path | None:
    """Where the first string lies that cannot be stored; a name counts with what holds it."""
    if isinstance(value, str):
        return None if is_storable(value) else ()
    if isinstance(value, dict) and not all(map(is_storable, value)):
        return ()
    for name, item in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        if (path := _unstorable(item)) is not None:
            return (_shown(name), *path)
    return None


def _shown(name: object) -> str:
    """A field name as it may be repeated in an answer: bounded, and encodable."""
    return str(name)[:80].encode("ascii", "backslashreplace").decode()
