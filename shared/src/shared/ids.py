"""Ids that sort by time, and ids that follow from what they identify."""

import os
import time
from datetime import UTC, datetime
from hashlib import sha1
from uuid import UUID

_OURS = UUID("6f0e6c0a-5d0b-4d5e-9c5e-7b1f0a4f9a10")


def uuid7() -> UUID:
    """A version 7 UUID: 48 bits of Unix milliseconds, then random bits (RFC 9562 §5.7)."""
    return _version7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)))


def _version7(milliseconds: int, rest: int) -> UUID:
    """`rest`: 80 bits, of which 74 are taken."""
    return _versioned(milliseconds << 80 | rest, 7)


def _versioned(value: int, version: int) -> UUID:
    """128 bits, with version and variant written over six of them."""
    value = value & ~(0xF << 76) | version << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def time_of(id_: UUID) -> datetime:
    """When a version 7 UUID was made, to the millisecond."""
    return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)


def derived_at(at: datetime, *parts: object) -> UUID:
    """A version 7 UUID of that time, of which the other bits follow from the parts."""
    return _version7(int(at.timestamp() * 1000), derived(*parts).int & ((1 << 80) - 1))


def derived(*parts: object) -> UUID:
    """The version 5 UUID of the parts, so that doing a thing twice names the same thing.

    As uuid5 makes it, which takes half as long again.
    """
    digest = sha1(_OURS.bytes + "/".join(map(str, parts)).encode(), usedforsecurity=False).digest()
    return _versioned(int.from_bytes(digest[:16]), 5)
