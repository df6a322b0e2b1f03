from hypothesis import given
from hypothesis import strategies as st

from cli.latency import PostTimes, percentile
from cli.receiver import Received
from cli.verification import Verdict


def delivery(event: str, *, at: float, order_id: int | None = None, email: str | None = "ada@mail.example") -> Received:
    return Received(
        path="/hooks",
        verdict=Verdict.VERIFIED,
        answer=200,
        received_at=at,
        event=event,
        delivery_id="d",
        webhook_id="w",
        timestamp="0",
        signature="",
        sequence=1,
        customer="a3f2",
        email=email,
        score=34,
        segment="risk",
        order_id=order_id,
        body=b"",
    )


def two_orders() -> PostTimes:
    times = PostTimes()
    times.note(order_id=1, email="Ada@Mail.example", at=10.0)
    times.note(order_id=2, email="ada@mail.example", at=30.0)
    times.note(order_id=1, email="ada@mail.example", at=20.0)
    return times


def test_a_high_risk_order_counts_from_the_first_post_of_its_order():
    assert two_orders().latency(delivery("high_risk_order", at=25.0, order_id=1)) == 15.0


def test_another_delivery_with_an_order_counts_from_the_last_post_of_that_order_before_it():
    assert two_orders().latency(delivery("automation_triggered", at=35.0, order_id=1)) == 15.0
    assert two_orders().latency(delivery("automation_triggered", at=15.0, order_id=1)) == 5.0


def test_a_score_counts_from_the_customers_last_post_before_it():
    assert two_orders().latency(delivery("score_updated", at=31.0)) == 1.0
    assert two_orders().latency(delivery("score_updated", at=29.0)) == 9.0


def test_a_delivery_without_a_post_before_it_has_no_latency():
    assert two_orders().latency(delivery("score_updated", at=9.0)) is None
    assert two_orders().latency(delivery("score_updated", at=40.0, email=None)) is None
    assert two_orders().latency(delivery("high_risk_order", at=40.0, order_id=3)) is None


@given(values=st.lists(st.floats(0, 1e6), min_size=1), percent=st.floats(0, 100))
def test_a_percentile_is_a_value_that_occurred_with_that_share_at_or_below_it(values, percent):
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9


def test_nothing_has_no_percentile():
    assert percentile([], 50) is None
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 99) == 4.0
