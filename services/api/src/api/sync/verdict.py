"""What a store's answer means: what was asked for, ask again, or give up; in words that a shop's owner understands."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, TypeAlias

LONGEST_WAIT = 300.0
"""Seconds that a Retry-After may make us wait: whoever asked for this looks at it."""
SHOWN = 200
"""Characters of what a store says that are repeated."""
LOOKED_AT = 4096
"""Characters in which they are looked for: tags that are never closed take time by the square of a text's length."""

_PASSING = frozenset({401, 403, 408, 425, 429})
"""Statuses that may be others the next time; the first two where it is not WooCommerce that says so."""
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_PERSONAL = re.compile(r"\S+@\S+|\b[cs][ks]_\w+|\d{3,}")
"""Addresses, keys of WooCommerce's and of others, numbers."""
_START = re.compile(r"[\[{]")
_NOISE_TRIED = 50
"""Brackets in what stands before the JSON: each might be its beginning."""
_NOISE_READ = 10_000
"""Characters: what is JSON for so long is no notice of PHP's, so where it breaks off, it was what we asked for."""

NEW_KEY = (
    "make a key in WooCommerce, under Settings → Advanced → REST API, for an administrator and with the right to read"
    " and write, and save it"
)


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer as it came."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """What was asked for."""

    value: Any
    """A list or an object."""
    total: int | None = None
    """Rows of the whole list, as the store counts them."""
    at: datetime | None = None
    """The store's clock."""
    noise: str = ""
    """What stood before the JSON, as far as it may be shown."""


@dataclass(frozen=True, slots=True)
class Again:
    """It may be given the next time."""

    words: str
    after: float = 0.0
    """Seconds that the store asks us to wait."""
    begins: str = ""
    """How the answer begins, as far as it may be shown."""


@dataclass(frozen=True, slots=True)
class Never:
    """Asking again would not help: somebody has to change something."""

    words: str


Verdict: TypeAlias = Told | Again | Never


def judge(heard: Heard, now: datetime) -> Verdict:
    """What an answer of wc/v3, or of whatever stands in its place, means."""
    told, noise = _json(heard.body)
    code = told.get("code") if isinstance(told, dict) else None
    match heard.status:
        case status if 200 <= status < 300:
            return _good(heard, told, noise)
        case status if 300 <= status < 400:
            return Never(_moved(heard.headers.get("Location", "")))
        case 401 | 403 if isinstance(code, str):
            return Never(f"The store refuses the key ({heard.status}: {_message(told)}): {NEW_KEY}.")
        case 404:
            return Never(_no_api(code))
        case status if status in _PASSING or status >= 500:
            return _later(heard, now)
        case _:
            return Never(f"The store does not understand what we ask ({heard.status}: {_message(told)}).")


def _good(heard: Heard, told: Any, noise: str) -> Verdict:
    if not isinstance(told, list | dict):
        words = "a web page" if _is_page(heard.body) else "what is no JSON, or not all of it"
        return Again(f"The store's API answers with {words} ({heard.status}).", begins=begins(heard.body))
    return Told(told, _number(heard.headers.get("X-WP-Total", "")), _date(heard.headers.get("Date", "")), noise)


def _json(body: bytes) -> tuple[Any, str]:
    """The list or object that the body is, or ends with behind the notices of a badly set up PHP, and those notices."""
    text = body.decode("utf-8-sig", "replace").lstrip()
    if _START.match(text):  # what is cut off ends with parts that are whole: none of them was asked for
        return _loaded(text)[0], ""
    for start in islice(_START.finditer(text), _NOISE_TRIED):
        value, read = _loaded(text[start.start() :])
        if value is not None:
            return value, begins(text[: start.start()].encode()) or "?"
        if read > _NOISE_READ:
            break
    return None, ""


def _loaded(text: str) -> tuple[Any, int]:
    """With how far it could be read, where it is no JSON."""
    try:
        return json.loads(text), len(text)
    except json.JSONDecodeError as error:
        return None, error.pos
    except (ValueError, RecursionError):
        return None, 0


def _later(heard: Heard, now: datetime) -> Again:
    match heard.status:
        case 429:
            words = "The store asks us to come slower (429)."
        case 401 | 403:
            words = (
                f"Something in front of the store turns us away ({heard.status}, and not in WooCommerce's words): a"
                " firewall or a protection against robots. Let our address through."
            )
        case status:
            words = f"The store answers with an error of its own ({status})."
    return Again(words, retry_after(heard.headers.get("Retry-After", ""), now), begins(heard.body))


def retry_after(header: str, now: datetime) -> float:
    """Seconds to wait at least, by RFC 9110 §10.2.3: a number of them, or a date. 0 where it is neither."""
    if re.fullmatch(r"[0-9]{1,9}", header.strip()):
        return min(float(header), LONGEST_WAIT)
    at = _date(header)
    return min(max((at - now).total_seconds(), 0.0), LONGEST_WAIT) if at else 0.0


def _date(header: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(header)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _number(header: str) -> int | None:
    return int(header) if re.fullmatch(r"[0-9]{1,12}", header) else None


def _no_api(code: Any) -> str:
    if isinstance(code, str) and code != "rest_no_route":
        return f"The store has no such thing (404: {_impersonal(code)})."
    return (
        "There is no WooCommerce REST API at the store's URL (404): is it the address of the shop itself, is"
        " WooCommerce switched on, and are the permalinks (Settings → Permalinks) other than Plain?"
    )


def _moved(location: str) -> str:
    where = re.match(r"https?://[^/?#\s]{1,200}", location)
    there = f", to {printable(where.group())}" if where else ""
    return f"The store's URL leads elsewhere{there}: save the address it has now."


def _message(told: Any) -> str:
    message = told.get("message") if isinstance(told, dict) else None
    return _impersonal(message) if isinstance(message, str) else "no reason given"


def printable(text: str) -> str:
    """One line of what a store says, without tags, at most SHOWN characters."""
    line = " ".join(_TAGS.sub(" ", text[:LOOKED_AT]).split())
    return "".join(character for character in line if character.isprintable())[:SHOWN]


def _impersonal(text: str) -> str:
    """As `printable`, without what looks like an address, a key or a number: these words go into logs, too."""
    return _PERSONAL.sub("…", printable(text))


def _is_page(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def begins(body: bytes) -> str:
    """The first words of a page or a notice, impersonal. "" of anything else.

    What is cut off in the middle of an order is nobody's to read in a log.
    """
    if not _is_page(body):
        return ""
    return _impersonal(body[:LOOKED_AT].decode("utf-8", "replace"))[:80]
