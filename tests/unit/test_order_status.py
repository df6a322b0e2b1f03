"""What an action on an order comes to before any store is asked."""

import json
from typing import cast

import pytest

from dispatcher.classify import Answer
from dispatcher.destinations.means import Credentials
from dispatcher.destinations.woocommerce import Action, render, send
from dispatcher.send import Sender
from shared.targets import Reach
from unit.test_webhook_bodies import AUTOMATION


@pytest.mark.parametrize(("action", "status"), [("hold_order", "on-hold"), ("cancel_order", "cancelled")])
def test_an_action_is_a_status_and_a_note(action: Action, status: str) -> None:
    frozen = render(AUTOMATION, action=action, reason="Too many returns")
    assert frozen == f'{{"order_id":4821,"status":"{status}","note":"Too many returns"}}'.encode()


@pytest.mark.parametrize("reason", [None, ""])
def test_without_a_reason_the_note_names_the_rule(reason: str | None) -> None:
    assert json.loads(render(AUTOMATION, action="hold_order", reason=reason))["note"] == "Rule: Watch returns"


def test_an_action_without_an_order_can_be_recorded_too() -> None:
    frozen = render(AUTOMATION.model_copy(update={"order_id": None}), action="hold_order", reason=None)
    assert json.loads(frozen)["order_id"] is None


def test_the_secret_of_a_key_is_not_shown() -> None:
    assert "cs_secret" not in repr(Credentials("ck_key", "cs_secret"))


class Store:
    """Answers each request with the next of these statuses."""

    def __init__(self, *statuses: str) -> None:
        self._statuses = list(statuses)

    async def send(self, url: str, **_: object) -> Answer:
        assert url.startswith("https://shop.example/wp-json/wc/v3/orders/4821")
        return Answer(1, status_code=200, body=json.dumps({"id": 4821, "status": self._statuses.pop(0)}).encode())


@pytest.mark.parametrize(
    ("left_in", "error"),
    [
        ("wc-packing_2", "the store left the order wc-packing_2"),
        ("a\0b", "the store's answer is not the order as JSON"),
        ("a\ud800", "the store's answer is not the order as JSON"),
        ("\x1b[2J", "the store's answer is not the order as JSON"),
        ("x" * 51, "the store's answer is not the order as JSON"),
    ],
)
async def test_what_a_store_answers_can_be_stored_and_printed(left_in: str, error: str) -> None:
    sender = cast("Sender", Store("processing", left_in))
    body = render(AUTOMATION, action="hold_order", reason=None)
    keys = Credentials("ck_key", "cs_secret")
    answer = await send(sender, body, store_url="https://shop.example", credentials=keys, reach=Reach(), timeout=5)
    assert (answer.phase, answer.complaint) == ("body", error)
