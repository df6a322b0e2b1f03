"""The rules to start from are rules, and are installed only where they can work."""

from typing import Any

import pytest
from pydantic import ValidationError

from rule_engine.starters import STARTERS, Install, chosen, listed
from rule_engine.validate import Shop, read
from shared.ids import uuid7
from shared.mistakes import mistakes
from shared.targets import Reach

ENDPOINT = uuid7()
MEANS: dict[str, Any] = {
    "webhook_id": str(ENDPOINT),
    "slack_url": "https://hooks.slack.com/services/x",
    "email": "owner@shop.example",
}


def install(**given: Any) -> Install:
    return Install.model_validate(given, context=Reach())


@pytest.mark.parametrize("key", STARTERS)
def test_every_starter_is_a_rule_without_error_or_doubt_and_is_off(key: str) -> None:
    body = chosen(install(starters=[key], **MEANS)).bodies[key]
    rule, report = read(body, Reach(), Shop(endpoints={ENDPOINT: True}))
    assert rule is not None
    assert (report.errors, report.warnings, rule.mode) == ((), (), "off")


def test_the_starters_are_those_of_the_users_guide_and_graduated_ones() -> None:
    assert list(STARTERS) == [
        "risk_order_over_200",
        "segment_to_crm",
        "risk_below_30",
        "hold_high_risk_orders",
        "block_repeated_chargebacks",
        "notify_critical",
        "graduated_1_note",
        "graduated_2_tag",
        "graduated_3_hold",
        "graduated_4_block",
    ]
    assert [it["key"] for it in listed()] == list(STARTERS)


def test_all_are_installed_of_which_there_is_what_they_need_and_the_others_are_named() -> None:
    found = chosen(install())
    assert set(found.bodies) == {key for key, starter in STARTERS.items() if starter.needs is None}
    assert found.skipped["segment_to_crm"] == "needs a webhook_id or a webhook_url"
    assert found.skipped["notify_critical"] == "needs a slack_url or an email"
    assert set(found.bodies) | set(found.skipped) == set(STARTERS)
    everything = chosen(install(**MEANS))
    assert (set(everything.bodies), everything.skipped) == (set(STARTERS), {})


def test_a_starter_that_was_asked_for_and_cannot_work_is_refused_by_its_name() -> None:
    found = chosen(install(starters=["hold_high_risk_orders", "block_repeated_chargebacks"]))
    assert (found.bodies, found.problems) == ({}, {"starters.1": "block_repeated_chargebacks needs a slack_url"})


def test_a_starter_there_is_not_is_refused() -> None:
    assert chosen(install(starters=["segment_to_crm", "x"], **MEANS)).problems == {
        "starters.1": f"is not known: the starters are {', '.join(STARTERS)}"
    }


def test_a_webhook_is_an_endpoint_or_a_url() -> None:
    body = chosen(install(starters=["segment_to_crm"], webhook_url="https://crm.example/hook")).bodies["segment_to_crm"]
    assert body["actions"] == [{"type": "send_webhook", "url": "https://crm.example/hook"}]
    with pytest.raises(ValidationError) as caught:
        install(webhook_id=str(ENDPOINT), webhook_url="https://crm.example/hook")
    assert mistakes(caught.value) == {"body": "has both a webhook_id and a webhook_url: give one"}


@pytest.mark.parametrize("means", [{"slack_url": MEANS["slack_url"]}, {"email": MEANS["email"]}, MEANS])
def test_a_notice_goes_wherever_it_can(means: dict[str, Any]) -> None:
    body = chosen(install(starters=["notify_critical"], **means)).bodies["notify_critical"]
    kinds = {"slack_url": "send_slack", "email": "send_email"}
    assert [it["type"] for it in body["actions"]] == [kind for name, kind in kinds.items() if name in means]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"webhook_url": "http://crm.example"}, "webhook_url"),
        ({"webhook_url": "https://hooks.slack.com/x"}, "webhook_url"),
        ({"slack_url": "https://10.0.0.1"}, "slack_url"),
        ({"email": "nobody"}, "email"),
        ({"starters": "all"}, "starters"),
        ({"starters": [1]}, "starters.0"),
        ({"endpoint": "x"}, "endpoint"),
    ],
)
def test_a_means_that_is_none_is_refused(given: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        install(**given)
    assert list(mistakes(caught.value)) == [path]
