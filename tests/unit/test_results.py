"""What became of a rule's action, as the inspector says it."""

from datetime import timedelta
from typing import Any

import pytest

from api.results import KEPT, Answered, Made, Result, problem, result
from shared.ids import uuid7
from support.events import T0

NOW = T0


def made(status: str, **told: Any) -> Made:
    known: dict[str, Any] = {
        "id": uuid7(),
        "status": status,
        "reason": None,
        "attempts": 1,
        "last_status_code": 200,
        "last_error": None,
        "duration_ms": 84,
        "due_at": None,
    }
    return Made(**(known | told))


def words(became: Made | Answered | None, *, action: str = "send_webhook", age: timedelta = timedelta(0)) -> Result:
    return result(action, became, fired_at=NOW - age, now=NOW)


@pytest.mark.parametrize(
    ("became", "detail"),
    [
        (made("delivered"), "delivered 200 in 84 ms"),
        (made("delivered", last_error="already on hold"), "delivered 200 in 84 ms: already on hold"),
        (made("delivered", attempts=3), "delivered 200 in 84 ms after 3 attempts"),
        (made("pending", attempts=0), "waiting to be sent"),
        (made("retrying", due_at=NOW + timedelta(seconds=119.5)), "retrying, next in 120 s"),
        (
            made("retrying", due_at=NOW + timedelta(seconds=120), last_error="answered 500"),
            "retrying, next in 120 s: answered 500",
        ),
        (made("retrying", due_at=NOW), "retrying, next any moment"),
        (made("parked", reason="the endpoint is down"), "parked: the endpoint is down"),
        (
            made("exhausted", last_error="the order is already cancelled", reason="the order is already cancelled"),
            "failed: the order is already cancelled",
        ),
        (made("exhausted", attempts=4, last_error="answered 500"), "failed after 4 attempts: answered 500"),
        (made("exhausted", attempts=0, reason="expired"), "failed: its endpoint was down for too long"),
        (made("suppressed", reason="disabled"), "not sent: its endpoint is switched off"),
        (made("suppressed", reason="no_target"), "not sent: its target is not there any more"),
        (made("cancelled", reason="erased"), "cancelled: the customer was erased"),
        (made("cancelled", reason="the endpoint was deleted"), "cancelled: the endpoint was deleted"),
    ],
)
def test_a_delivery_s_state_is_said_in_words_and_kept_as_it_is(became: Made, detail: str) -> None:
    assert words(became) == Result(became.status, detail)


@pytest.mark.parametrize(
    ("action", "became", "told"),
    [
        ("tag_customer", Answered(), Result("done", "done")),
        ("block_customer", Answered("undo one first"), Result("failed", "failed: undo one first")),
        ("tag_customer", None, Result("pending", "waiting for the scorer")),
        ("hold_order", None, Result("pending", "waiting for the dispatcher")),
    ],
)
def test_a_command_s_answer_is_said_in_words(action: str, became: Answered | None, told: Result) -> None:
    assert words(became, action=action) == told


def test_what_is_too_old_to_be_waited_for_is_no_longer_kept() -> None:
    assert words(None, age=KEPT) == Result("pending", "waiting for the dispatcher")
    assert words(None, age=KEPT + timedelta(seconds=1)) == Result("unknown", "no longer kept")


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ({"status": 404, "message": "Customer not found.", "params": {}}, "Customer not found."),
        ({"message": "Invalid parameter(s): tag", "params": {"tag": "is one too many"}}, "tag is one too many"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_each_field(refusal: dict[str, object], said: str) -> None:
    assert problem(refusal) == said
