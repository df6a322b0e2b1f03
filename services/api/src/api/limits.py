"""How many requests a key may make: a token bucket for each, in this process. Times are seconds by its clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor
from uuid import UUID

_ROUNDING = 1e-9
"""What a sum of times may lack of a whole token."""


@dataclass(frozen=True, slots=True)
class Bucket:
    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one request. The seconds are whole, and rounded up."""

    allowed: bool
    limit: int
    """Requests that a rested key may make at once."""
    remaining: int
    """Of these, how many are left now."""
    reset: int
    """Seconds until all of them may be made again."""
    retry_after: int = 0
    """Seconds until one more may be made."""

    @property
    def headers(self) -> Mapping[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }


def take(bucket: Bucket | None, now: float, rate: float) -> tuple[Bucket, Verdict]:
    """The bucket after one request at `now`, and whether it may be made; None: the key has made none yet.

    `rate`: tokens per second. A bucket holds those of one second, but at least one.
    """
    size = max(rate, 1.0)
    tokens = min(size, bucket.tokens + max(now - bucket.at, 0.0) * rate) if bucket else size
    allowed = tokens >= 1 - _ROUNDING
    left = max(tokens - 1, 0.0) if allowed else tokens
    verdict = Verdict(
        allowed=allowed,
        limit=floor(size + _ROUNDING),
        remaining=floor(left + _ROUNDING),
        reset=ceil((size - left) / rate),
        retry_after=0 if allowed else max(ceil((1 - tokens) / rate), 1),
    )
    return Bucket(left, now if bucket is None else max(now, bucket.at)), verdict


class Limits:
    """The buckets of all keys."""

    def __init__(self, rate: float) -> None:
        """`rate`: requests per second, above 0."""
        self._rate = rate
        self._buckets: dict[UUID, Bucket] = {}

    def take(self, key_id: UUID, now: float) -> Verdict:
        self._buckets[key_id], verdict = take(self._buckets.get(key_id), now, self._rate)
        return verdict
