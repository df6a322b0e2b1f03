"""Metrics of the rule engine."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import Counter

EVENTS = Counter("trustlens_rules_events_total", "Events processed, whether or not a rule waited for them.")
EVALUATIONS = Counter(
    "trustlens_rules_evaluations_total", "Rules evaluated: fired, skipped, or failed as not valid.", ["outcome"]
)
PURE_SECONDS = Counter(
    "trustlens_rules_pure_seconds_total", "Time spent deciding: neither waiting for Postgres nor publishing."
)
PROCESS_SECONDS = Counter("trustlens_rules_process_seconds_total", "Time from a parsed batch of events to its commit.")


@contextmanager
def pure() -> Iterator[None]:
    """Counts what happens inside as deciding."""
    began = time.perf_counter()
    try:
        yield
    finally:
        PURE_SECONDS.inc(time.perf_counter() - began)


@contextmanager
def processing(count: int) -> Iterator[None]:
    began = time.perf_counter()
    yield
    PROCESS_SECONDS.inc(time.perf_counter() - began)
    EVENTS.inc(count)


def evaluated(outcomes: Mapping[str, int]) -> None:
    for outcome, count in outcomes.items():
        EVALUATIONS.labels(outcome).inc(count)
