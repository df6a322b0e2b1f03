import io
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from cli.demo_numbers import Numbers, Signal, Suspect
from cli.demo_summary import Findings, complaints, print_findings
from cli.posting import Result
from cli.receiver import Received
from cli.verification import Verdict


def received(delivery_id: str, verdict: Verdict = Verdict.VERIFIED) -> Received:
    return Received(
        path="/hooks/crm",
        verdict=verdict,
        answer=200,
        received_at=10.0,
        event="score_updated",
        delivery_id=delivery_id,
        webhook_id="w",
        timestamp="10",
        signature="",
        sequence=1,
        customer="a3f2",
        email="ada@mail.example",
        score=15,
        segment="critical",
        order_id=None,
        body=b"",
    )


SUSPECT = Suspect("ada@mail.example", 15, "critical", (Signal("returns", -40, "returned 9 of 10 orders (90 %)"),))
GOOD = Findings(
    posted=Counter({Result.ACCEPTED: 3}),
    first_rejection="",
    posting_seconds=1.0,
    numbers=Numbers(
        segments=Counter(normal=2, critical=1),
        lowest=(SUSPECT,),
        deliveries=Counter(delivered=2),
        delivered_ids=frozenset({"a", "b"}),
    ),
    received=[received("a"), received("b")],
    latencies=[0.02, 0.03],
    balanced=True,
)


def with_deliveries(**counts: int) -> Findings:
    return replace(GOOD, numbers=replace(GOOD.numbers, deliveries=Counter(delivered=2, **counts)))


def test_a_good_demo_has_nothing_to_complain_about():
    assert complaints(GOOD) == []


def test_the_same_delivery_received_twice_is_no_complaint():
    assert complaints(replace(GOOD, received=[received("a"), received("b"), received("a")])) == []


def test_what_was_left_out_as_a_repeat_is_no_complaint():
    assert complaints(with_deliveries(repeats=1000)) == []


@pytest.mark.parametrize(
    ("findings", "complaint"),
    [
        (replace(GOOD, balanced=False), "The books do not balance."),
        (replace(GOOD, received=[received("a")]), "1 delivered webhooks did not arrive verified."),
        (
            replace(GOOD, received=[*GOOD.received, received("c", Verdict.WRONG)]),
            "1 requests arrived that do not verify.",
        ),
        (
            replace(GOOD, posted=Counter({Result.REJECTED: 2}), first_rejection="HTTP 400: total"),
            "2 events were rejected, the first with HTTP 400: total",
        ),
        (with_deliveries(failed=1), "1 deliveries failed."),
        (with_deliveries(exhausted=1), "1 deliveries ran out of attempts."),
        (with_deliveries(retrying=1, pending=1), "2 deliveries were not finished in time."),
        (with_deliveries(suppressed=3), "3 deliveries were not sent at all."),
    ],
)
def test_each_broken_promise_is_told(findings, complaint):
    assert complaints(findings) == [complaint]


def test_the_summary_tells_the_lowest_scores_in_words():
    out = io.StringIO()
    console = Console(file=out, width=100)
    print_findings(GOOD, console)
    text = out.getvalue()
    assert "15 critical" in text
    assert "-40  returned 9 of 10 orders (90 %)" in text
    assert "p50 20 ms, p95 30 ms, p99 30 ms" in text
