"""Whether a rate is sustained, and how the highest one is found."""

from hypothesis import given
from hypothesis import strategies as st

from bench.flow import APART, Flow, next_rate, under_way

SECONDS = 20


def flow(rate: int, wait: float = 0.1, slower: float = 1.0) -> Flow:
    """Orders at a rate; each webhook comes after `wait`, and those of a slow system ever later."""
    due = {number: number / rate for number in range(rate * SECONDS)}
    return Flow(rate, due, {number: at * slower + wait for number, at in due.items()})


def test_what_comes_as_fast_as_it_goes_is_sustained():
    steady = flow(100)
    assert steady.sustained
    assert abs(steady.growth) < 0.5
    assert round(steady.backlog(0.5, 1)) == 10
    assert 95 < steady.achieved < 105


def test_what_falls_behind_is_not_however_soon_it_is_done_in_the_end():
    behind = flow(100, slower=1.05)
    assert not behind.sustained
    assert 4 < behind.growth < 6
    assert not behind.lost


def test_work_that_lies_about_is_a_queue_even_if_it_does_not_grow():
    assert not flow(100, wait=1.5).sustained


def test_an_order_without_its_webhook_is_lost_and_no_rate_is_sustained_by_losing():
    whole = flow(100)
    lossy = Flow(whole.rate, whole.due, {number: at for number, at in whole.done.items() if number != 7})
    assert lossy.lost == 1
    assert not lossy.sustained


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10))), st.lists(st.floats(0, 120), max_size=20).map(sorted))
def test_what_is_under_way_is_what_was_due_and_is_not_done(orders: list[tuple[float, float]], moments: list[float]):
    due, done = [at for at, _ in orders], [at + wait for at, wait in orders]
    counted = [sum(a <= moment for a in due) - sum(b <= moment for b in done) for moment in moments]
    assert under_way(due, done, moments) == counted


@given(st.floats(20, 2000), st.floats(0.5, 2))
def test_the_highest_rate_is_found_from_a_guess_nearby(truth: float, off: float):
    held: list[tuple[float, bool]] = []
    while (rate := next_rate(held, guess=truth * off)) is not None:
        held.append((rate, rate <= truth))
        assert len(held) < 15
    best = max(rate for rate, sustained in held if sustained)
    assert best <= truth < best * APART
