"""What an action on an order comes to before any store is asked."""

import json

import pytest

from dispatcher.destinations.means import Credentials
from dispatcher.destinations.woocommerce import Action, render
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
