"""What time it is. One clock says when deliveries are due and who may be called; leases go by the database's own."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)
