"""Order webhooks → the facts that the api makes of them: of a file, or of generated shops."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

from api.body import BadBodyError
from api.ingest.woocommerce import parse_order
from bench.stack import Shop
from cli.order_lines import BadLine, OrderFile, OrderLine
from cli.shop import order_events
from local_stack.errors import StackError
from shared.broker import Outgoing
from shared.events import Fact, OrderFact
from shared.ids import uuid7
from shared.topology import FACTS


def of_file(path: Path, shop: Shop, limit: int) -> list[OrderFact]:
    """The first `limit` orders of a file, all of one store."""
    return list(islice((_fact(line, shop) for line in _good(OrderFile(path))), limit))


def of_shops(shops: Sequence[Shop], *, now: datetime, limit: int) -> list[OrderFact]:
    """The first `limit` webhooks of several generated shops, one seed each, in the order of time."""
    made = chain.from_iterable(_of_shop(shop, seed, now) for seed, shop in enumerate(shops, 1))
    return sorted(made, key=lambda fact: fact.occurred_at)[:limit]


def _of_shop(shop: Shop, seed: int, now: datetime) -> Iterator[OrderFact]:
    events = order_events(now=now, seed=seed)
    return (_fact(OrderLine.of(number, event), shop) for number, event in enumerate(events, 1))


def _good(lines: Iterable[OrderLine | BadLine]) -> Iterator[OrderLine]:
    for line in lines:
        if isinstance(line, BadLine):
            raise StackError(f"Line {line.number} holds no order: {line.why}")
        yield line


def _fact(line: OrderLine, shop: Shop) -> OrderFact:
    try:
        order = parse_order(line.body, shop.key)
    except BadBodyError as error:
        raise StackError(f"Line {line.number} would be refused: {error}") from None
    return OrderFact(id=uuid7(), store_id=shop.id, occurred_at=order.modified_at, data=order)


def outgoing(facts: Iterable[Fact], *, lane: str = "live") -> list[Outgoing]:
    """As the api sends them."""
    return [Outgoing(fact.id, FACTS, f"{lane}.{fact.type}", fact.encode()) for fact in facts]
