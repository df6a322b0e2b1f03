"""Where webhooks may go, as far as the text of a URL and of custom headers tells.

Both owners of targets ask this: the dispatcher for endpoints, the rule engine for the actions of rules. Addresses
behind names are judged when a delivery looks them up.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, StrictStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from shared.egress import Network, refused
from shared.settings import Settings

MAX_URL = 2048
MAX_HEADERS = 20
SHORT_SECRET = 32
"""Characters under which a given secret is doubted, as the guide asks for 32 or more."""
MASK = "***"
"""Shown in place of a header's value."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # a token of RFC 9110 §5.6.2
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,4096}")
_RESERVED = frozenset(
    [
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    ]
)
_RESERVED_PREFIXES = ("x-trustlens-", "proxy-")


@dataclass(frozen=True, slots=True)
class Reach:
    """What this installation may call."""

    allow_http: bool = False
    allowed: Sequence[Network] = ()


class ReachSettings(Settings):
    """Settings of a service that takes or calls targets."""

    allow_http: bool = False
    """Whether http:// targets may be called. For local stacks."""
    allowed_targets: Annotated[tuple[Network, ...], NoDecode] = ()
    """Networks that may be called though they are private, as CIDRs, comma-separated."""

    @field_validator("allowed_targets", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def reach(self) -> Reach:
        return Reach(allow_http=self.allow_http, allowed=self.allowed_targets)


def unusable(url: str, reach: Reach) -> str | None:
    """Why deliveries cannot go to a URL."""
    if not url.isprintable() or " " in url:
        return "has blanks or control characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme != "https" and not (reach.allow_http and parts.scheme == "http"):
        return "must begin with https://"
    if not parts.hostname or port == 0:
        return "has no host" if not parts.hostname else "has no usable port"
    if "@" in parts.netloc:
        return "must not contain a user or password: send an Authorization header"
    return _refused_literal(parts, reach)


def _refused_literal(parts: SplitResult, reach: Reach) -> str | None:
    host = parts.hostname or ""
    if ":" in host or host.replace(".", "").isdigit():
        reason = refused(host, reach.allowed)
        return f"its address is refused: {reason}" if reason else None
    return None


def unsendable(headers: Mapping[str, str]) -> str | None:
    """Why custom headers cannot be sent, with the name of the first that cannot."""
    for name, value in headers.items():
        if problem := _unsendable(name, value):
            return f"{name}: {problem}"
    if len({name.lower() for name in headers}) < len(headers):
        return "a name is there twice, in other capitals"
    return None


def _unsendable(name: str, value: str) -> str | None:
    if not _HEADER_NAME.fullmatch(name):
        return "is no header name"
    if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIXES):
        return "is reserved"
    return None if _HEADER_VALUE.fullmatch(value) else "has a value that is not plain ASCII"


def _callable_url(url: str, info: ValidationInfo) -> str:
    reach = info.context if isinstance(info.context, Reach) else Reach()
    if problem := unusable(url, reach):
        raise PydanticCustomError("url", "{problem}", {"problem": problem})
    return url


def _sendable_headers(headers: dict[str, str]) -> dict[str, str]:
    if problem := unsendable(headers):
        raise PydanticCustomError("headers", "{problem}", {"problem": problem})
    return headers


TargetUrl = Annotated[StrictStr, Field(max_length=MAX_URL), AfterValidator(_callable_url)]
"""A URL that deliveries can go to, given the Reach in the validation context."""
TargetHeaders = Annotated[dict[StrictStr, StrictStr], Field(max_length=MAX_HEADERS), AfterValidator(_sendable_headers)]
"""Custom headers that may be sent."""
