"""Versions of an order, in any order of arrival."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from scorer.facts import Folded, Incoming, Stored, fold, incoming
from shared.events import Fact, Order, Refund
from shared.ids import uuid7

STORE = UUID(int=1)
T0 = datetime(2026, 6, 5, 14, 0, tzinfo=UTC)


def version(
    status: str = "processing", *, minute: int = 0, refunds: tuple[int, ...] = (), owner: str | None = "a" * 64
) -> Incoming:
    order = Order(
        id=7,
        number="7",
        total=Decimal("100.00"),
        currency="EUR",
        status=status,
        created_at=T0,
        modified_at=T0 + timedelta(minutes=minute),
        email="a@example.com",
        refunds=tuple(Refund(id=n, amount=Decimal(10)) for n in refunds),
    )
    return incoming(Fact(id=uuid7(), type="order", store_id=STORE, occurred_at=T0, data=order), owner)


def stored(version: Incoming, *, announced: bool = True) -> Stored:
    return version.stored(announced=announced)


def told(folded: Folded) -> list[str]:
    return [happening.type for happening in folded.happenings]


def results(folded: Folded) -> list[str]:
    return [result for _, result in folded.results]


def test_the_first_version_places_the_order() -> None:
    assert told(fold(None, [version()])) == ["order_placed"]


def test_a_draft_is_not_yet_placed_and_its_first_real_version_is() -> None:
    draft, real = version("checkout-draft"), version("pending", minute=1)
    first = fold(None, [draft])
    assert (told(first), first.announced) == ([], False)
    assert told(fold(stored(draft, announced=False), [real])) == ["order_placed", "order_status_changed"]


def test_an_order_first_seen_refunded_tells_that_it_was_placed_and_each_refund() -> None:
    assert told(fold(None, [version("refunded", refunds=(1, 2))])) == [
        "order_placed",
        "order_refunded",
        "order_refunded",
    ]


def test_each_new_refund_is_told_once() -> None:
    before, after = version("completed", refunds=(1,)), version("completed", minute=1, refunds=(1, 2))
    folded = fold(stored(before), [after])
    assert [h.refund.id for h in folded.happenings if h.refund] == [2]


def test_a_cancelled_order_tells_the_change_and_the_cancellation() -> None:
    folded = fold(stored(version("processing")), [version("cancelled", minute=1)])
    assert told(folded) == ["order_status_changed", "order_cancelled"]
    assert folded.happenings[0].old_status == "processing"


def test_the_same_version_again_changes_nothing() -> None:
    once = version()
    folded = fold(stored(once), [once])
    assert (folded.winner, told(folded), results(folded)) == (None, [], ["unchanged"])


def test_an_older_version_is_stale() -> None:
    folded = fold(stored(version("completed", minute=5)), [version("processing", minute=1)])
    assert (folded.winner, told(folded), results(folded)) == (None, [], ["stale"])


def test_in_the_same_second_more_refunds_win_then_the_later_status() -> None:
    plain, refunded = version("completed"), version("processing", refunds=(1,))
    assert fold(stored(refunded), [plain]).winner is None
    assert fold(stored(plain), [refunded]).winner is refunded
    assert fold(stored(version("completed")), [version("processing")]).winner is None
    assert fold(stored(version("processing")), [version("wc-custom")]).winner is not None


def test_an_order_that_moves_to_another_customer_names_the_former_one() -> None:
    folded = fold(stored(version()), [version(minute=1, owner="b" * 64)])
    assert folded.former_owner == "a" * 64


VERSIONS = [
    version("checkout-draft"),
    version("pending"),
    version("processing", minute=1),
    version("completed", minute=2),
    version("completed", minute=3, refunds=(1,)),
    version("refunded", minute=3, refunds=(1, 2)),
]


@given(st.lists(st.sampled_from(VERSIONS), min_size=1, max_size=12), st.data())
def test_any_order_of_arrival_and_any_cut_into_batches_end_in_the_same_version(
    arrivals: list[Incoming], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(arrivals)))
    state: Stored | None = None
    refunds, placed = [], 0
    for batch in (arrivals[:cut], arrivals[cut:]):
        folded = fold(state, batch)
        if folded.winner:
            state = folded.winner.stored(announced=folded.announced)
        refunds += [h.refund.id for h in folded.happenings if h.refund]
        placed += told(folded).count("order_placed")
        assert len(folded.results) == len(batch)
    best = max(arrivals, key=lambda v: v.rank)
    assert state is not None
    assert state.digest == best.digest
    assert sorted(refunds) == sorted(set(refunds))
    assert placed == (best.order.status != "checkout-draft")
