from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.why import SHOWN, Case, Happened, Looked, Version, explain
from shared.ids import uuid7

NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
MADE = Version(NOW - 60 * DAY, "order_placed", "live")


def evaluation(ago: timedelta, **fields: Any) -> Looked:
    known: dict[str, Any] = {
        "event_id": uuid7(),
        "trigger": "order_placed",
        "at": NOW - ago,
        "outcome": "skipped",
        "reason": "trust_score < 30: actual 47",
        "version": 1,
        "values": {"trust_score": 47},
    }
    return Looked(**(known | fields))


def happened(ago: timedelta, *, evaluated: bool = False, kept: bool = True) -> Happened:
    return Happened(uuid7(), NOW - ago, evaluated, kept)


def case(*events: Happened, evaluations: tuple[Looked, ...] = (), **fields: Any) -> Case:
    known: dict[str, Any] = {
        "trigger": "order_placed",
        "mode": "live",
        "versions": [MADE],
        "known": True,
        "any_event": True,
        "reached": NOW,
    }
    return Case(evaluations=evaluations, events=events, **(known | fields))


def answer(asked: Case) -> str:
    return explain(asked, NOW)[0]


def test_a_skip_is_told_with_its_reason_and_the_firing_before_it():
    skip, fire = evaluation(DAY), evaluation(2 * DAY, outcome="fired", reason="the conditions hold")
    said, events = explain(case(evaluations=(skip, fire)), NOW)
    assert said == (
        "It did not fire for the last order_placed, at 2026-06-04 14:23:00: trust_score < 30: actual 47."
        " It fired last at 2026-06-03 14:23:00."
    )
    assert [(event.event_id, event.outcome, event.version) for event in events] == [
        (skip.event_id, "skipped", 1),
        (fire.event_id, "fired", 1),
    ]
    assert events[0].values == {"trust_score": 47}


def test_a_firing_is_told_with_what_its_actions_came_to():
    done = "send_webhook: delivered 200 in 84 ms"
    fire = evaluation(MINUTE, outcome="fired", reason="the conditions hold", actions=[done])
    said, events = explain(case(evaluations=(fire,)), NOW)
    assert said == "It fired for the last order_placed, at 2026-06-05 14:22:00: the conditions hold."
    assert events[0].actions == [done]


def test_a_rule_that_cannot_be_evaluated_says_so():
    broken = evaluation(MINUTE, outcome="failed", reason="the rule is no longer valid: there is no field shoe_size")
    assert answer(case(evaluations=(broken,))).startswith("It could not be evaluated for the last order_placed")


@pytest.mark.parametrize(
    "reason",
    [
        "cooldown: 12 min left",
        "hourly limit: 1000 firings since 14:00",
        "depth 3: rules have triggered one another long enough",
        "shadow: would have fired",
    ],
)
def test_what_the_rule_engine_recorded_is_told_in_its_words(reason: str):
    assert reason in answer(case(evaluations=(evaluation(MINUTE, reason=reason),)))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            case(known=False, any_event=False),
            "There is no such customer: nothing of theirs has arrived.",
        ),
        (
            case(any_event=False),
            "No event of this customer is kept, and what came as history is not played to rules.",
        ),
        (case(), "No order_placed of this customer in the last 30 days."),
        (
            case(evaluations=(evaluation(40 * DAY, outcome="fired"),)),
            "No order_placed of this customer in the last 30 days. It fired last at 2026-04-26 14:23:00.",
        ),
        (case(mode="off"), "No order_placed of this customer in the last 30 days. The rule is off."),
    ],
)
def test_where_nothing_has_happened_that_is_the_answer(asked: Case, said: str):
    assert answer(asked) == said


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (
            case(happened(DAY), versions=[replace(MADE, saved_at=NOW - MINUTE)]),
            "the rule did not exist then: it was made at 2026-06-05 14:22:00",
        ),
        (case(happened(DAY), versions=[]), "the rule did not exist then"),
        (
            case(happened(DAY, evaluated=True), versions=[replace(MADE, mode="off"), replace(MADE, saved_at=NOW)]),
            "the rule was off then",
        ),
        (
            case(happened(DAY), versions=[replace(MADE, trigger="order_refunded"), replace(MADE, saved_at=NOW)]),
            "the rule waited for order_refunded then",
        ),
        (
            case(happened(DAY), versions=[MADE, Version(NOW - DAY + MINUTE / 2, "order_placed", "off")]),
            "the rule was being changed then, and was not in force when the rule engine came to it",
        ),
        (
            case(happened(8 * DAY, kept=False)),
            "what was decided for events that old is kept no longer, except for firings: it did not fire",
        ),
        (
            case(happened(MINUTE / 2)),
            "it is still on its way: the rule engine has not come to it",
        ),
        (
            case(happened(60 * MINUTE), reached=NOW - 70 * MINUTE),
            "it is still on its way: the rule engine has not come to it",
        ),
        (case(happened(60 * MINUTE), reached=None), "it is still on its way: the rule engine has not come to it"),
        (
            case(happened(60 * MINUTE)),
            "it was never evaluated, though later ones were: `trustlens dead list` shows what could not be processed",
        ),
    ],
)
def test_an_event_without_an_evaluation_says_why_it_has_none(asked: Case, reason: str):
    said, (event,) = explain(asked, NOW)
    assert (event.outcome, event.reason, event.version) == ("not_evaluated", reason, None)
    assert said.startswith("It did not fire for the last order_placed, at ")
    assert f": {reason}." in said


def test_an_event_that_was_evaluated_is_told_once():
    skip = evaluation(DAY)
    seen = Happened(skip.event_id, skip.at, evaluated=True, kept=True)
    assert len(explain(case(seen, evaluations=(skip,)), NOW)[1]) == 1


def test_the_newest_events_are_told_whichever_way_they_are_known():
    skips = tuple(evaluation(n * DAY) for n in range(1, 20, 2))
    others = [happened(n * DAY) for n in range(2, 20, 2)]
    _, events = explain(case(*others, evaluations=skips), NOW)
    assert [event.at for event in events] == [NOW - n * DAY for n in range(1, SHOWN + 1)]


def test_what_has_changed_since_is_added():
    skip = evaluation(DAY)
    assert answer(case(evaluations=(skip,), mode="off")).endswith("actual 47. The rule is off.")
    assert answer(case(evaluations=(skip,), mode="shadow")).endswith(
        "actual 47. The rule is in shadow: it does nothing."
    )
    off_then = case(happened(DAY), versions=[replace(MADE, mode="off")], mode="off")
    assert answer(off_then).endswith("the rule was off then.")
    shadow_then = case(evaluations=(evaluation(DAY, reason="shadow: would have fired"),), mode="shadow")
    assert answer(shadow_then).endswith("shadow: would have fired.")
