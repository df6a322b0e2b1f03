"""Which web pages may call the API from a browser: those of the configured origins; without any, none.

Credentials are never allowed: a key travels in a header of its own, which a page has to set, not in a cookie.
"""

from collections.abc import Collection, Mapping

GIVEN = "Authorization, Content-Type, Idempotency-Key, X-TrustLens-API-Key"
"""Headers that a page may send."""
SHOWN = (
    "Allow, Idempotent-Replayed, Link, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset,"
    " X-WP-Total, X-WP-TotalPages"
)
"""Headers of an answer that a page may read."""
MAX_AGE = "600"
"""Seconds that a browser need not ask again; Chromium remembers no longer than 7,200."""


def headers(
    origins: Collection[str], *, origin: str | None, method: str, asked: str | None, allow: str | None
) -> Mapping[str, str]:
    """What the answer carries to a page at `origin`.

    `asked`: Access-Control-Request-Method, which makes an OPTIONS request a preflight. `allow`: the answer's Allow.
    """
    varying = {"Vary": "Origin"}  # also where there is no origin: a cache must not give that answer to a page
    if origin not in origins or origin is None:
        return varying
    permitted = varying | {"Access-Control-Allow-Origin": origin}
    if method == "OPTIONS" and asked and allow:
        return permitted | {
            "Access-Control-Allow-Methods": allow,
            "Access-Control-Allow-Headers": GIVEN,
            "Access-Control-Max-Age": MAX_AGE,
        }
    return permitted | {"Access-Control-Expose-Headers": SHOWN}
