"""What a store lets us reach its own servers with."""

from dataclasses import dataclass, field
from typing import Literal

Security = Literal["tls", "starttls", "none"]


@dataclass(frozen=True, slots=True)
class Smtp:
    """A store's mail server."""

    host: str
    port: int
    security: Security
    """`tls` from the first byte (port 465), `starttls` (587), or `none`."""
    user: str | None
    password: str | None = field(repr=False)
    sender: str
    """`alerts@shop.example` or `Shop <alerts@shop.example>`."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A store's REST API keys, with write permission for orders."""

    key: str
    secret: str = field(repr=False)
