"""Traces cost nothing where they are off, and tell nothing personal where they are on."""

import json
import subprocess
import sys

import pytest

from shared import traces
from shared.otlp import _named
from shared.traces import Headers

SERVICES = "import sys, api.__main__, dispatcher.__main__, rule_engine.__main__, scorer.__main__"
AWAY = """
import asyncio, structlog
from shared import log, traces
traces.start("scorer", "http://127.0.0.1:1")
log.configure("scorer", form="json")
class Part:
    id, headers = "1", {}
try:
    with traces.batch("process scorer.facts", [Part()], kind="consumer"):
        structlog.get_logger().info("sweep.marked")
        raise ValueError("jane@example.com")
except ValueError:
    pass
traces.stop()
"""


def ran(program: str, **environment: str) -> str:
    return subprocess.check_output(
        [sys.executable, "-c", program], env=environment, text=True, stderr=subprocess.STDOUT
    )


def test_a_service_without_traces_imports_nothing_of_opentelemetry() -> None:
    assert ran(f"{SERVICES}; print([name for name in sys.modules if name.startswith('opentelemetry')])") == "[]\n"


def test_off_everything_is_there_and_leaves_no_trace() -> None:
    assert not traces.on()
    with traces.batch("process scorer.facts", (), kind="consumer"), traces.part("1"):
        assert (traces.carried("1"), traces.current()) == ({}, {})
    with traces.attempt("deliver", None) as leg:
        leg.answered(200)
    with traces.request("GET", "/", {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}) as leg:
        assert leg.headers == {}


def test_a_collector_that_is_away_costs_a_stop_two_seconds_and_a_line_at_most() -> None:
    """Whether the line is there depends on how soon the system refuses the connection."""
    first, *more = map(json.loads, ran(AWAY, OTEL_EXPORTER_OTLP_TIMEOUT="1").splitlines())
    assert (first["event"], len(first["trace_id"]), len(first["span_id"])) == ("sweep.marked", 32, 16)
    assert [line["event"] for line in more] in ([], ["traces.not_sent"])
    assert "jane" not in str(more)


@pytest.mark.parametrize(
    ("headers", "ids"),
    [
        ({"traceparent": "00-0af7-b7ad-01"}, {"trace_id": "0af7", "span_id": "b7ad"}),
        ({"traceparent": "00-0af7-b7ad-03"}, {"trace_id": "0af7", "span_id": "b7ad"}),
        ({"traceparent": "00-0af7-b7ad-00"}, {}),
        ({"traceparent": "00-0af7-b7ad-02"}, {}),
        ({"traceparent": "00-0af7-b7ad-"}, {}),
        ({}, {}),
        ({"traceparent": "nonsense"}, {}),
    ],
)
def test_a_log_line_names_a_trace_that_somebody_keeps(headers: Headers, ids: Headers) -> None:
    assert traces.ids(headers) == ids


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("BEGIN;", "BEGIN"),
        ("SELECT true", "SELECT"),
        ("SELECT a FROM unnest($1::uuid[]) JOIN scorer.orders o", "SELECT"),
        ("select a from ONLY api.stores", "SELECT api.stores"),
        ("-- What it is for.\n\nSELECT a\n FROM scorer.orders", "SELECT scorer.orders"),
        ("WITH k AS (SELECT 1) INSERT INTO scorer.events SELECT * FROM k", "INSERT scorer.events"),
        ("WITH k AS (SELECT 1) SELECT * FROM scorer.events", "SELECT scorer.events"),
        ("UPDATE dispatcher.deliveries d SET lease = NULL FROM api.stores", "UPDATE dispatcher.deliveries"),
        ("LOCK TABLE ONLY api.raw_input IN ROW EXCLUSIVE MODE", "LOCK api.raw_input"),
    ],
)
def test_a_statement_is_named_after_what_it_does_and_where(sql: str, name: str) -> None:
    assert _named(sql)[1] == name
