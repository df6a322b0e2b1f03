"""Whatever the sequence of events, the last body a receiver got is the customer's last state."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher import bursts
from dispatcher.bursts import Decided, Key, Sent

NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
WINDOW = timedelta(seconds=5)
KEY: Key = (UUID(int=1), "ab" * 32)


def sent(sequence: int, body: bytes = b"a", *, second: float = 0, number: int | None = None) -> Sent:
    at = NOW + timedelta(seconds=second)
    return Sent(UUID(int=sequence if number is None else number), body, sequence, at)


def decide(last: dict[Key, Sent], *given_: Sent, key: Key = KEY) -> Decided:
    return bursts.decide(last, [(key, one) for one in given_], window=WINDOW)


def test_a_repeat_within_the_window_is_left_out() -> None:
    decided = decide({KEY: sent(1)}, sent(2, second=4.9))
    assert decided.duplicates == {UUID(int=2)}
    assert decided.last == {KEY: sent(2, second=4.9)}


def test_after_the_window_it_is_sent() -> None:
    assert not decide({KEY: sent(1)}, sent(2, second=5)).duplicates


def test_another_body_is_sent_and_so_is_the_first_one_again_after_it() -> None:
    assert not decide({}, sent(1), sent(2, b"b"), sent(3), sent(4, b"b")).duplicates


def test_another_endpoint_or_customer_has_its_own_last_body() -> None:
    decided = bursts.decide(
        {KEY: sent(1)},
        [((UUID(int=2), KEY[1]), sent(2)), ((KEY[0], "cd" * 32), sent(3))],
        window=WINDOW,
    )
    assert not decided.duplicates


def test_within_one_batch_the_order_is_that_of_the_sequence() -> None:
    assert decide({}, sent(3, b"b"), sent(1), sent(2)).duplicates == {UUID(int=2)}


def test_one_that_is_older_than_the_last_is_sent_and_leaves_the_last() -> None:
    decided = decide({KEY: sent(5)}, sent(4, second=-1))
    assert decided == Decided(frozenset(), {})


def test_a_late_one_with_another_body_belies_a_last_one_that_was_left_out() -> None:
    decided = decide({KEY: sent(4)}, sent(3, b"b"))
    assert decided == Decided(frozenset(), {}, {UUID(int=3): sent(4)})


def test_a_delivery_that_comes_again_is_not_its_own_duplicate() -> None:
    assert decide({KEY: sent(5)}, sent(5)) == Decided(frozenset(), {})


events = st.lists(
    st.tuples(st.sampled_from([b"a", b"b"]), st.sampled_from([0.0, 0.5, 3.0, 6.0])), min_size=1, max_size=8
)


@settings(max_examples=1000, deadline=None)
@given(events, st.data())
def test_after_any_sequence_the_last_body_is_the_last_state(happened: list[tuple[bytes, float]], data: st.DataObject):
    """Events of one customer, in any order, some again and again, in batches of any size."""
    made, second = [], 0.0
    for sequence, (body, pause) in enumerate(happened, 1):
        second += pause
        made.append(sent(sequence, body, second=second))
    arriving = data.draw(st.permutations([*made, *data.draw(st.lists(st.sampled_from(made), max_size=6))]))
    received = _received(arriving, data)
    assert received[max(received)] == made[-1].digest, "by sequence, as receivers are told to order them"


def _received(arriving: Sequence[Sent], data: st.DataObject) -> dict[int, bytes]:
    """What got through, by sequence. As in the database, a delivery is made once, sent or not."""
    last: dict[Key, Sent] = {}
    rows: dict[UUID, bool] = {}
    left = list(arriving)
    while left:
        size = data.draw(st.integers(1, len(left)))
        batch = {one.delivery_id: one for one in left[:size]}
        left = left[size:]
        decided = decide(last, *batch.values())
        last |= decided.last
        for delivery_id in batch.keys() - rows.keys():
            rows[delivery_id] = delivery_id not in decided.duplicates
            if delivery_id in decided.belied:
                rows[decided.belied[delivery_id].delivery_id] = True
    return {one.sequence: one.digest for one in arriving if rows[one.delivery_id]}
