"""What an operator reads of an attempt: a line for people on a terminal, every key as JSON otherwise."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from dispatcher.attempt import _tell
from dispatcher.classify import Answer
from dispatcher.deliveries import Delivery, Step
from dispatcher.recorder import Record
from shared.log import ATTEMPT, Terminal

NOW = datetime(2026, 6, 5, 14, 23, 5, tzinfo=UTC)
TOLD: dict[str, Any] = {
    "event": ATTEMPT,
    "level": "warning",
    "timestamp": "14:23:05",
    "service": "dispatcher",
    "delivery": "984f75c8-c0af-5829-8c25-102a084f413c",
    "endpoint": "01a20f98-0e1a-7682-984e-45a94e2cac05",
    "event_type": "score_updated",
    "customer": "abababababab",
    "status": 500,
    "attempt": "2/4",
    "ms": 31,
    "next": "120 s",
    "why": "answered 500",
}
LINE = "14:23:05 score_update 984f75c8 01a20f98 abababababab    500 2/4    31 120 s answered 500"


def on_screen(**changes: object) -> str:
    return Terminal(colours=False)(None, "warning", TOLD | changes)


def test_an_attempt_is_one_line() -> None:
    assert on_screen() == LINE


@pytest.mark.parametrize("status", [200, "first_byte"])
@pytest.mark.parametrize("then", ["delivered", "exhausted", "lease_lost", "86400 s"])
def test_everything_but_the_reason_is_in_80_columns(status: object, then: str) -> None:
    line = on_screen(event_type="customer_allowlist_removed", status=status, next=then, ms=30_000, why="it broke")
    assert line.removesuffix(" it broke") == on_screen(
        event_type="customer_allowlist_removed", status=status, next=then, ms=30_000, why=None
    )
    assert len(line.removesuffix(" it broke")) <= 80
    assert then in line


def test_an_answer_that_broke_off_is_told_by_where_it_did_and_not_by_its_status() -> None:
    delivery = Delivery(
        recorded_at=NOW,
        id=uuid4(),
        store_id=uuid4(),
        target_id=uuid4(),
        endpoint_id=None,
        rule_id=None,
        event="score_updated",
        source_id=uuid4(),
        shape="trustlens",
        email_hash="ab" * 32,
        sequence=1,
        mode="retry",
        max_attempts=4,
    )
    broken = Answer(2000, status_code=200, phase="body", error="no complete answer within 2 s")
    with capture_logs() as logged:
        _tell(Record(delivery, uuid4(), NOW, answer=broken), Step("failed"))
    assert [(line["status"], line["why"]) for line in logged] == [("body", "no complete answer within 2 s")]


def test_other_events_are_told_key_by_key() -> None:
    assert "01a20f98-0e1a" in on_screen(event="endpoint.down")


def test_the_frames_of_an_error_stand_under_its_line() -> None:
    told = {"event": "api.failed", "level": "error", "timestamp": "14:23:05", "error": "KeyError"}
    line, *frames = Terminal(colours=False)(None, "error", told | {"trace": "  File a\n  File b\n"}).splitlines()
    assert (line.split()[-1], frames) == ("error=KeyError", ["  File a", "  File b"])


def test_on_a_screen_that_has_colours_what_failed_stands_out() -> None:
    failed = Terminal(colours=True)(None, "warning", dict(TOLD))
    assert failed == f"\x1b[33m{LINE}\x1b[0m"
    assert Terminal(colours=True)(None, "info", TOLD | {"level": "info"}) == LINE


PROCESS = """
import json, sys, structlog
from shared import log
log.configure("dispatcher", form=sys.argv[1])
structlog.get_logger().warning("delivery.attempt", **json.loads(sys.argv[2]))
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_process_writes_it_in_the_form_that_is_asked_for(form: str) -> None:
    told = {key: value for key, value in TOLD.items() if key not in {"event", "level", "timestamp", "service"}}
    written = subprocess.check_output([sys.executable, "-c", PROCESS, form, json.dumps(told)], text=True)
    if form == "console":
        assert written[8:] == LINE[8:] + "\n"
    else:
        assert told.items() <= json.loads(written).items()
