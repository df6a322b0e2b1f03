import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from cli.answers import DeadLetter, Delivery, DeliveryShown, Endpoint, FollowedAttempt, Replayed, Trial
from cli.api import ApiError
from cli.dead import described as dead_message
from cli.deliveries import Tail, attempt_line, counted, facts, line, moment
from cli.webhooks import (
    DEFAULT_EVENTS,
    app,
    codes,
    condition,
    created,
    described,
    header_fields,
    merged,
    names,
    outcome,
    rotated,
)
from dispatcher import endpoints

ID = UUID("0190a000-0000-7000-8000-000000000000")
UNTIL = "2026-06-06 14:23:00"
DELIVERY = UUID("1f2e3d4c-0000-5000-8000-000000000000")


def endpoint(**fields: Any) -> Endpoint:
    known = {"id": ID, "url": "https://crm.example/hook", "events": ("score_updated",), "enabled": True}
    return Endpoint.model_validate(known | fields)


def trial(**fields: Any) -> Trial:
    known = {"delivery_id": DELIVERY, "ok": False, "status_code": None, "duration_ms": 1031, "body": "", "error": None}
    return Trial.model_validate(known | fields)


def attempt(**fields: Any) -> FollowedAttempt:
    known = {
        "delivery_id": DELIVERY,
        "event": "customer_allowlist_removed",
        "customer": "a3f2" + "0" * 60,
        "number": 2,
        "attempts": 2,
        "max_attempts": 4,
        "ended_at": "2026-06-05 14:25:03",
        "status_code": 500,
        "error": "HTTP 500",
        "duration_ms": 31,
        "status": "retrying",
        "next_attempt_at": "2026-06-05 14:27:03",
    }
    return FollowedAttempt.model_validate(known | fields)


def test_the_defaults_that_are_offered_are_those_of_the_dispatcher():
    assert DEFAULT_EVENTS == endpoints.DEFAULT_EVENTS


def test_lists_are_written_with_commas_and_empty_ones_mean_the_defaults():
    assert names(" score_updated, customer_blocked ,") == ["score_updated", "customer_blocked"]
    assert (names(""), names(None)) == ([], None)
    assert (codes("401, 422"), codes(""), codes(None)) == ([401, 422], [], None)
    with pytest.raises(typer.BadParameter, match="401,422"):
        codes("four")


def test_headers_are_assignments_whose_values_may_hold_an_equals_sign():
    assert header_fields(["Authorization=Bearer a=b=", "X-A = 1"]) == {"Authorization": "Bearer a=b=", "X-A": "1"}
    assert header_fields([]) is None
    for word in ("Authorization", "=x", " =x"):
        with pytest.raises(typer.BadParameter, match="NAME=VALUE"):
            header_fields([word])


def test_one_header_is_changed_and_the_others_stay_as_they_are_masked():
    there = {"Authorization": "***", "X-Old": "***", "X-Kept": "***"}
    assert merged(there, {"authorization": "new"}, ["x-old"]) == {"X-Kept": "***", "authorization": "new"}


@pytest.mark.parametrize(
    ("there", "those"),
    [({"Authorization": "***", "X-Old": "***"}, "there are Authorization, X-Old"), ({}, "there are none")],
)
def test_a_header_that_is_not_there_is_not_dropped(there, those):
    with pytest.raises(ApiError, match=f"There is no header nothere to drop: {those}"):
        merged(there, {}, ["x-old", "nothere"] if there else ["nothere"])


def test_an_endpoint_is_not_switched_on_with_a_reason_to_be_off():
    told = CliRunner().invoke(app, ["edit", str(ID), "--enable", "--reason", "moved"])
    in_a_line = " ".join(told.output.replace("│", "").split())
    assert (told.exit_code, "says why an endpoint is off" in in_a_line) == (2, True)


def test_an_outage_is_shown_with_its_beginning_and_the_next_probe():
    told = described(endpoint(outage_since="2026-06-05 14:23:00", next_probe_at="2026-06-05 14:24:00"))
    assert told[1] == "  down since 2026-06-05 14:23:00, next probe due at 2026-06-05 14:24:00"


def test_a_parked_delivery_says_when_its_endpoint_is_probed():
    shown = DeliveryShown(
        id=DELIVERY,
        event="score_updated",
        customer="a3f2" + "0" * 60,
        status="parked",
        max_attempts=4,
        created_at="2026-06-05 14:23:00",
        next_probe_at="2026-06-05 14:24:00",
        attempts=(),
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(facts(shown))
    assert "next probe  2026-06-05 14:24:00" in console.export_text()


def test_a_filter_is_json_and_the_message_shows_one_that_is():
    assert condition('{"field": "trust_score", "operator": "<", "value": 40}') == {
        "field": "trust_score",
        "operator": "<",
        "value": 40,
    }
    assert condition("null") is None
    with pytest.raises(typer.BadParameter) as refused:
        condition("trust_score < 40")
    example = str(refused.value).split("'")[1]
    assert isinstance(json.loads(example), dict)


def test_a_new_endpoint_shows_its_generated_secret_and_every_warning():
    made = endpoint(secret="once", warnings=("secret: shorter than 32 characters",))
    told = "\n".join(created(made))
    assert "shown only now: once" in told
    assert "Warning: secret: shorter" in told
    assert "secret" not in "\n".join(created(endpoint()))


def test_an_endpoint_that_is_off_says_why():
    assert "off: the endpoint answered 410 Gone" in "\n".join(
        described(endpoint(enabled=False, disabled_reason="the endpoint answered 410 Gone"))
    )
    assert described(endpoint(url="https://crm.example/\x1b[31m"))[1] == "  https://crm.example/?[31m"


def test_an_endpoint_says_how_it_is_sent_to_where_that_is_not_the_default():
    assert described(endpoint())[3:] == ["  fire_and_log"]
    told = described(
        endpoint(
            delivery="retry",
            format="slack",
            include_email=False,
            timeout=2,
            headers={"Authorization": "***"},
            filter={"field": "trust_score", "operator": "<", "value": 40},
            permanent_codes=(401, 422),
            standard_webhooks=True,
            overlap_until=UNTIL,
        )
    )
    assert told[3:] == [
        (
            "  retry; format slack; no e-mail; timeout 2 s; final: 401, 422; Standard Webhooks;"
            f" headers Authorization; two secrets sign until {UNTIL}"
        ),
        '  filter {"field":"trust_score","operator":"<","value":40}',
    ]


def test_a_test_that_was_taken_says_what_the_receiver_said():
    told = outcome(trial(ok=True, status_code=200, body="th\x1bnks\n"), ID)
    assert told == ["The receiver answered HTTP 200 in 1,031 ms.", "It said: th?nks"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"error": {"phase": "connect", "message": "connection refused"}}, "at connect: connection refused"),
        ({"error": {"phase": "tls", "message": None}}, "can be reached"),
        ({"error": {"phase": "first_byte", "message": "no complete answer"}}, "The receiver was reached"),
        ({"status_code": 200, "error": {"phase": "body", "message": "no complete answer"}}, "The receiver was reached"),
        ({"status_code": 401}, "has this secret"),
        ({"status_code": 404}, "the path of the URL"),
        ({"status_code": 302}, "Redirects are not followed"),
        ({"status_code": 500, "body": "oops"}, "It said: oops"),
    ],
)
def test_a_test_that_failed_says_why_and_what_to_do_next(fields, told):
    lines = outcome(trial(**fields), ID)
    assert told in "\n".join(lines)
    assert lines[-1].endswith(f"Then: trustlens webhooks test {ID}")


def test_a_rotation_says_which_secret_signs_and_how_to_end_it():
    told = "\n".join(rotated(endpoint(secret="once"), None))
    assert "shown only now: once" in told
    assert f"trustlens webhooks rotate {ID} --end" in told
    assert "alone signs" in "\n".join(rotated(endpoint(), 0))


def test_a_time_is_utc_where_it_names_no_offset():
    assert moment("2026-06-05") == "2026-06-05T00:00:00+00:00"
    assert moment("2026-06-05 14:23") == "2026-06-05T14:23:00+00:00"
    assert moment("2026-06-05T14:23:00+02:00") == "2026-06-05T14:23:00+02:00"
    with pytest.raises(typer.BadParameter, match="2026-06-05"):
        moment("yesterday")


def test_a_delivery_is_one_line_of_eighty_columns_with_its_whole_id():
    told = line(
        Delivery(
            id=DELIVERY,
            event="customer_allowlist_removed",
            customer="a3f2" + "0" * 60,
            status="suppressed",
            max_attempts=1,
            created_at="2026-06-05 14:23:00",
        )
    )
    assert told == f"06-05 14:23 {DELIVERY} customer_allowlist_r suppressed"
    assert len(told) <= 80


def test_an_attempt_is_one_line_of_eighty_columns():
    told = attempt_line(attempt())
    assert told == "14:25:03 customer_allowli 1f2e3d4c a3f200000000     500 2/4    31 next 14:27:03"
    assert len(told) <= 80
    assert attempt_line(attempt(), width=None).endswith("next 14:27:03 HTTP 500")


def test_where_there_is_room_an_attempt_has_the_id_that_other_commands_take():
    assert f" {DELIVERY} " in attempt_line(attempt(), width=120)
    assert f" {DELIVERY} " in attempt_line(attempt(), width=None)


def test_an_attempt_does_not_say_twice_what_was_answered():
    assert attempt_line(attempt(error="answered 500"), width=None).endswith("next 14:27:03")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"number": 1}, " again"),
        ({"status": "delivered", "status_code": 200, "error": None}, " 200 2/4    31 delivered"),
        ({"status": "parked", "next_attempt_at": None}, " parked"),
        ({"status": "exhausted", "status_code": None, "phase": "first_byte"}, " first_b 2/4    31 exhausted"),
        ({"status": "exhausted", "status_code": 200, "phase": "body"}, "    body 2/4    31 exhausted"),
    ],
)
def test_an_attempt_tells_what_follows_from_it(fields, told):
    assert told in attempt_line(attempt(**fields))


def test_nothing_that_came_from_outside_drives_the_terminal():
    assert "\x1b" not in attempt_line(attempt(event="\x1b[2J", error="\x1b[31m"), width=None)
    dead = DeadLetter(id="\x1b", queue="scorer.facts", reason="rejected", error="\x1b", service="scorer", size=9)
    assert "\x1b" not in "".join(dead_message(dead))


START = datetime(2026, 6, 5, 14, 0, tzinfo=UTC)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4)), max_size=40).map(
        lambda made: [(ended, ended + late, number) for number, (ended, late) in enumerate(made)]
    )
)
def test_every_attempt_is_told_once_although_some_are_recorded_late(attempts):
    """(ended, recorded, number): looked at each second, what was recorded until then, from `after` on."""

    def ended_at(second: int) -> str:
        return (START + timedelta(seconds=second)).strftime("%Y-%m-%d %H:%M:%S")

    tail, told = Tail(), []
    for now in range(70):
        after = tail.query.get("after", "")
        there = [
            {"delivery_id": str(DELIVERY), "number": number, "ended_at": ended_at(ended)}
            for ended, recorded, number in attempts
            if recorded <= now and ended_at(ended) > after
        ]
        told += tail.new(sorted(there, key=lambda one: str(one["ended_at"]), reverse=True))
    assert sorted(one["number"] for one in told) == sorted(number for _, _, number in attempts)


def test_a_replay_says_how_many_there_are():
    assert counted(Replayed(job_id=None, count=1)) == "1 delivery would be made once more."
    assert counted(Replayed(job_id=ID, count=1200)) == "1,200 deliveries to make once more."
    assert counted(Replayed(job_id=None, count=0, skipped=12)) == (
        "0 deliveries would be made once more. 12 more are left out: their endpoints are off."
    )
