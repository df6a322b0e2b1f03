"""What is wrong with an input, by field, without repeating the input."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

SHOWN = 20
"""Mistakes told at once: enough to mend a body, too few to flood an answer."""
_IN_WORDS = {
    "extra_forbidden": "is not known here",
    "missing": "is missing",
    "tuple_type": "should be a list",
    "dict_type": "should be an object",
    "model_type": "should be an object",
}
"""By pydantic's name of the mistake: where its own words would not follow the name of a field, or are Python's."""
_PATTERNS = {
    r"^[A-Za-z]{3}$": "must be three letters, as in EUR",
    r"^([A-Za-z]{3})?$": "must be three letters, as in EUR",
    r"^[A-Z]{3}$": "must be three capital letters, as in EUR",
    r"^([A-Za-z]{2})?$": "must be two letters, as in DE",
    r"^[0-9a-f]{64}$": "must be an email_hash: 64 hexadecimal digits",
    r"^[0-9a-fA-F]{64}$": "must be an email_hash: 64 hexadecimal digits",
    r"^[A-Za-z0-9.:-]{1,253}$": "must be a server's name or address, without a scheme",
    r"^[\x21-\x7e]{1,100}$": "must be 1 to 100 ASCII characters, without spaces",
    r"^[\x21-\x7e]{16,200}$": "must be 16 to 200 ASCII characters, without spaces",
}
"""What a pattern asks for, in words: only programmers read patterns."""
_PATTERN = re.compile(r"\AString should match pattern '(.*)'\Z", re.DOTALL)
_COUNTED = re.compile(r" after validation, not \d+\Z")
_TEXT_LENGTH = re.compile(r"\AValue (should have at (least|most) \d+) item")
"""Of a text that a validator of ours has passed on: pydantic knows no more what it is. Lists say that they are some."""
_SUBJECT = re.compile(r"\A([A-Z]\w+( input)?(?= should )|Value error,)")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, or doubtful, at a place of a body."""

    path: tuple[str | int, ...]
    message: str

    @property
    def pointer(self) -> str:
        return pointer(self.path)

    @property
    def dotted(self) -> str:
        return ".".join(map(str, self.path)) or "body"


def pointer(path: Iterable[str | int]) -> str:
    """A place of a body as a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def mistakes(error: ValidationError) -> dict[str, str]:
    """Field path to what is wrong with it, which follows it in a sentence; without the values given."""
    return by_path(problems(error))


def by_path(found: Iterable[Problem]) -> dict[str, str]:
    return {problem.dotted: problem.message for problem in found}


def problems(error: ValidationError) -> list[Problem]:
    """As `mistakes` tells them."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    told = [m for m in found if not (m["type"] == "too_short" and _blames_items(m["loc"], found))]
    return [Problem(_path(m["loc"]), _in_words(m)) for m in told[:SHOWN]]


def _in_words(mistake: ErrorDetails) -> str:
    if (asked := _PATTERN.match(mistake["msg"])) and asked[1] in _PATTERNS:
        return _PATTERNS[asked[1]]
    own = _SUBJECT.sub("", _TEXT_LENGTH.sub(r"\1 character", mistake["msg"]), count=1).lstrip()
    return _IN_WORDS.get(mistake["type"]) or _COUNTED.sub("", own)


def _blames_items(location: tuple[int | str, ...], found: Sequence[ErrorDetails]) -> bool:
    """Whether a list is too short only because pydantic doesn't count items that have mistakes of their own."""
    return any(len(m["loc"]) > len(location) and m["loc"][: len(location)] == location for m in found)


def _path(location: Sequence[int | str]) -> tuple[int | str, ...]:
    """Without parts in angle brackets: our names for members of a union, which no sender ever wrote."""
    return tuple(part for part in location if not str(part).startswith("<"))
