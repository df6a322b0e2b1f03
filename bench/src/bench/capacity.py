"""What an order costs each service, and what many a second would need: docs/scaling.md's tables. No I/O."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

RATES = (100, 1_000, 10_000)
"""Store events a second."""
BUSY = 0.6
"""Of a core, on average: the rest is for rushes, and for what is caught up with after an outage."""
SERVICES = ("api", "scorer", "rule-engine", "dispatcher")
QUEUES = {"api": 1, "scorer": 2, "rule-engine": 2, "dispatcher": 0}
"""To how many queues a message of a service goes (shared/topology.py)."""
DAY = 86_400


def tables(result: Mapping[str, Any]) -> str:
    """Of a result of `end_to_end`, as its JSON tells it."""
    each = {figure["name"]: float(figure["value"]) for figure in result["figures"]}
    return "\n".join((*_costs(each), "", *_needs(each)))


def _costs(each: Mapping[str, float]) -> Iterator[str]:
    yield "| of an order | processor, µs | rows written | bytes kept | messages sent |"
    yield "|---|---:|---:|---:|---:|"
    for name in SERVICES:
        table = name.replace("-", "_")
        rows, kept, sent = each[f"rows of {table}"], each[f"kept by {table}"], each[f"messages of {name}"]
        yield f"| {name} | {_micros(each, name):,.0f} | {rows:.1f} | {kept:,.0f} | {sent:.2f} |"
    yield f"| Postgres | {_micros(each, 'Postgres'):,.0f} | | {each['write-ahead log']:,.0f} of log | |"
    yield f"| RabbitMQ | {_micros(each, 'RabbitMQ'):,.0f} | | | {_carried(each):.1f} carried |"


def _needs(each: Mapping[str, float]) -> Iterator[str]:
    yield "| needed for | " + " | ".join(f"{rate:,} events/s" for rate in RATES) + " |"
    yield "|---|" + "---:|" * len(RATES)
    for name in SERVICES:
        yield _row(f"processes of {name}", [str(cores(rate, _micros(each, name))) for rate in RATES])
    for name in ("Postgres", "RabbitMQ"):
        yield _row(f"cores of {name}", [str(cores(rate, _micros(each, name))) for rate in RATES])
    kept = sum(each[f"kept by {name.replace('-', '_')}"] for name in SERVICES)
    yield _row("Postgres' log, MB/s", [f"{rate * each['write-ahead log'] / 1e6:,.1f}" for rate in RATES])
    yield _row("kept a day at that rate, GB", [f"{rate * kept * DAY / 1e9:,.0f}" for rate in RATES])
    yield _row("messages/s that RabbitMQ carries", [f"{rate * _carried(each):,.0f}" for rate in RATES])


def _row(what: str, values: list[str]) -> str:
    return f"| {what} | {' | '.join(values)} |"


def _micros(each: Mapping[str, float], name: str) -> float:
    return each[f"processor of {name}"]


def _carried(each: Mapping[str, float]) -> float:
    """Messages that queues take for an order."""
    return sum(each[f"messages of {name}"] * queues for name, queues in QUEUES.items())


def cores(rate: float, micros: float) -> int:
    """How many are needed, none of them busier than BUSY. A service's process uses one."""
    return max(math.ceil(rate * micros / 1e6 / BUSY), 1)
