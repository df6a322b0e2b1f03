"""What an API key may do."""

from collections.abc import Collection
from typing import Literal

Scope = Literal["read", "write", "ingest", "pii", "admin"]


def allows(scopes: Collection[str], wanted: Scope) -> bool:
    """Whether a key with these scopes may do what needs `wanted`. Admin may do everything."""
    return wanted in scopes or "admin" in scopes
