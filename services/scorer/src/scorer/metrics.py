"""Metrics of the scorer."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter

PURE_SECONDS = Counter(
    "trustlens_scorer_pure_seconds_total", "Time spent deciding: neither waiting for Postgres nor publishing."
)
PROCESS_SECONDS = Counter(
    "trustlens_scorer_process_seconds_total", "Time from a parsed batch of facts to its commit.", ["lane"]
)
FACTS = Counter("trustlens_scorer_facts_total", "Facts processed.", ["lane"])
RESCORED = Counter("trustlens_scorer_rescored_total", "Customers recalculated, by what asked for it.", ["asked"])


@contextmanager
def pure() -> Iterator[None]:
    """Counts what happens inside as deciding."""
    began = time.perf_counter()
    try:
        yield
    finally:
        PURE_SECONDS.inc(time.perf_counter() - began)


@contextmanager
def processing(lane: str, count: int) -> Iterator[None]:
    began = time.perf_counter()
    yield
    PROCESS_SECONDS.labels(lane).inc(time.perf_counter() - began)
    FACTS.labels(lane).inc(count)
