"""Where webhooks may go, as far as the text of a URL and of custom headers tells.

Both owners of targets ask this: the dispatcher for endpoints, the rule engine for the actions of rules. Addresses
behind names are judged when a delivery looks them up. A URL is read here as it will be when it is called (by yarl), so
that no spelling can mean one host here and another there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, StrictStr, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode
from yarl import URL

from shared.egress import Network, refused
from shared.settings import Settings

MAX_URL = 2048
MAX_HEADERS = 20
SHORT_SECRET = 32
"""Characters under which a given secret is doubted, as the guide asks for 32 or more."""
MASK = "***"
"""Shown in place of a header's value."""
SLACK_HOST = "hooks.slack.com"
"""Takes Slack messages only."""

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

_ADDRESS = re.compile(r":|(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")
"""Hosts that are addresses, and those that some resolvers take for one: 127.1, 2130706433, 0x7f.1 (WHATWG URL §3.5,
"ends in a number")."""
_HOST_NAME = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.(?!$)|$))+")
"""RFC 1123 §2.1, and underscores, which names inside container networks have."""
_KNOWN_NAMES = {
    "localhost": "127.0.0.1",  # and all under it: RFC 6761 §6.3
    "localhost.localdomain": "127.0.0.1",
    "ip6-localhost": "::1",
    "ip6-loopback": "::1",
    "metadata": "169.254.169.254",
    "metadata.google.internal": "169.254.169.254",
    "metadata.goog": "169.254.169.254",
    "instance-data": "169.254.169.254",
    "instance-data.ec2.internal": "169.254.169.254",
    "metadata.azure.internal": "169.254.169.254",
}
"""Names whose address is known without asking: refused when they are saved, not only when they are called."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What this installation may call."""

    allow_http: bool = False
    allowed: Sequence[Network] = ()


ANYWHERE = Reach(allow_http=True, allowed=(ip_network("0.0.0.0/0"), ip_network("::/0")))
"""To take what is stored as it is; sending judges it each time."""


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
        if problem := _unusable_parts(parts, reach):
            return problem
        return _unusable_host(URL(url).raw_host or "", reach)
    except ValueError:
        return "is not a URL"


def _unusable_parts(parts: SplitResult, reach: Reach) -> str | None:
    """Raises:
    ValueError: the port is none, or the host is an address of a future kind (RFC 3986 §3.2.2): who knows where it is.
    """
    if parts.scheme != "https" and not (reach.allow_http and parts.scheme == "http"):
        return "must begin with https://"
    if not parts.hostname:
        return "has no host"
    if parts.port == 0:
        return "has no usable port"
    if "@" in parts.netloc:
        return "must not contain a user or password: send an Authorization header"
    if "[" in parts.netloc and ":" not in parts.hostname:
        raise ValueError("an address of a future kind")
    return None


def _unusable_host(host: str, reach: Reach) -> str | None:
    """Of a host as it will be called: in IDNA form, lower case, without brackets."""
    name = host.removesuffix(".")
    address: str | None = None
    if _ADDRESS.search(name):
        address = host
    elif _HOST_NAME.fullmatch(name):
        address = _KNOWN_NAMES.get("localhost" if name.endswith(".localhost") else name)
    else:
        return "has a host that is no host name"
    reason = refused(address, reach.allowed) if address else None
    return f"leads to an address that is refused: {reason}" if reason else None


def unsendable(headers: Mapping[str, str]) -> str | None:
    """Why custom headers cannot be sent, with the name of the first that cannot."""
    for name, value in headers.items():
        if problem := _unsendable(name, value):
            return f"has {name!r}, which {problem}"
    if len({name.lower() for name in headers}) < len(headers):
        return "has a name twice, in other capitals"
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


TargetUrl = Annotated[
    StrictStr,
    Field(max_length=MAX_URL),
    AfterValidator(_callable_url),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://[^/?#@]+", "maxLength": MAX_URL}),
]
"""A URL that deliveries can go to, given the Reach in the validation context."""
TargetHeaders = Annotated[dict[StrictStr, StrictStr], Field(max_length=MAX_HEADERS), AfterValidator(_sendable_headers)]
"""Custom headers that may be sent."""
