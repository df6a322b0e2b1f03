"""What a busy shop's customers order now: webhooks without end, no two of one customer close together."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from bench import ingest
from bench.stack import Track
from cli.shop import order_events
from cli.wc_order import Order

CUSTOMERS = 5000
"""They order in turn, each from an address, a phone and an IP of its own: nobody is linked, and no batch has two
orders of one customer, so that each order is a recalculation and a webhook of its own."""
PATTERNS = 500
LARGE = 182
"""Order total that one order in ten reaches, of 20 to 199."""


class Orders:
    """Numbered on and on, whoever takes them."""

    def __init__(self, secret: str, path: str) -> None:
        self._secret = secret
        self._path = path
        self._patterns = patterns()
        self._next = 1

    @classmethod
    async def of(cls, track: Track) -> "Orders":
        return cls(await ingest.secret(track), ingest.path(track))

    def take(self, count: int) -> list[tuple[int, bytes]]:
        """The next ones, placed now: (order id, the request that tells of it)."""
        first, self._next = self._next, self._next + count
        return [(number, self._request(number)) for number in range(first, self._next)]

    def _request(self, number: int) -> bytes:
        pattern = self._patterns[number % len(self._patterns)]
        body = ingest.body_of(ordered(pattern, number, datetime.now(UTC)), number)
        return ingest.request(body, number, secret=self._secret, path=self._path)


def patterns() -> Sequence[Order]:
    """Of the demo shop, what was sold and kept."""
    events = order_events(now=datetime.now(UTC), seed=1)
    kept = (event.order for event in events if event.order["status"] == "completed" and not event.order["refunds"])
    return list(islice(kept, PATTERNS))


def ordered(pattern: Order, number: int, now: datetime) -> Mapping[str, Any]:
    """The pattern, with what of the number-th order is its own."""
    customer = number % CUSTOMERS
    at = now.strftime("%Y-%m-%dT%H:%M:%S")
    address = {
        "address_1": f"{customer} Long Road",
        "address_2": "",
        "postcode": f"P{customer}",
        "phone": f"+4420794{customer:05d}",
    }
    return {
        **pattern,
        **dict.fromkeys(_times(), at),
        "total": f"{20 + number * 7 % 180}.00",
        "customer_id": 1000 + customer,
        "customer_ip_address": f"100.64.{customer // 250}.{customer % 250 + 1}",
        "transaction_id": f"pi_{number}",
        "coupon_lines": [],
        "billing": {**pattern["billing"], **address, "email": f"c{customer}@bench.example"},
        "shipping": {**pattern["shipping"], **address},
    }


def _times() -> Iterator[str]:
    for name in ("created", "modified", "paid", "completed"):
        yield f"date_{name}"
        yield f"date_{name}_gmt"
