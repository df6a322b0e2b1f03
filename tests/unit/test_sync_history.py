"""What a row of a store's becomes, and whether a webhook should have told it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.stores import StoreSecrets
from api.sync.history import MAX_REASONS, Books, Kind, Lane, Seen, became, entered, input_of, lane, late, read, untold
from api.sync.store import Known
from scorer import facts
from shared.events import Coupon, Order, OrderFact
from support.orders import order

NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
KEY = b"k" * 32
STORE = UUID(int=1)
SECRETS = StoreSecrets(STORE, KEY, "", "")
GRACE = timedelta(minutes=2)


def seen(**changes: Any) -> Seen:
    return read("orders", order(**changes), KEY)


def known(row: Seen, **changes: Any) -> Known:
    """As the scorer would have it, from this very row."""
    assert isinstance(row.data, Order)
    fact = OrderFact(id=STORE, store_id=STORE, occurred_at=NOW, data=row.data)
    version = facts.incoming(fact, None).version
    return replace(Known(version.modified_at, version.digest), **changes)


def test_an_order_that_the_scorer_has_in_this_version_is_unchanged_on_the_quiet_lane() -> None:
    row = seen()
    assert became(row, known(row), "history") == became(row, known(row, announced=False), "history") == "unchanged"


def test_on_the_live_lane_it_is_news_until_it_was_announced() -> None:
    row = seen()
    assert became(row, known(row, announced=False), "live") == "changed"
    assert became(row, known(row), "live") == "unchanged"


@pytest.mark.parametrize(("minutes", "what"), [(-1, "changed"), (1, "unchanged")])
def test_a_version_is_sent_unless_the_scorer_has_a_later_one(minutes: int, what: str) -> None:
    row = seen()
    assert row.modified_at
    other = Known(row.modified_at + timedelta(minutes=minutes), b"other")
    assert became(row, other, "history") == what


def test_of_the_same_second_another_content_is_sent_and_the_scorer_says_which_counts() -> None:
    row = seen()
    assert row.modified_at
    assert became(row, Known(row.modified_at, b"other"), "history") == "changed"


def test_what_the_scorer_never_saw_is_new() -> None:
    assert became(seen(), None, "history") == "new"


@pytest.mark.parametrize(("hours", "where"), [(1, "live"), (23.9, "live"), (24, "history"), (9999, "history")])
def test_what_is_younger_than_a_day_is_told_as_by_a_webhook(hours: float, where: Lane) -> None:
    created = (NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S")
    assert lane(seen(date_created_gmt=created), NOW) == where


@pytest.mark.parametrize(
    ("kind", "row", "reason"),
    [
        ("orders", order(total="plenty"), "total must be"),
        ("orders", {"id": 7}, "status"),
        ("orders", {"id": 7, "code": "x", "message": "y"}, "status"),
        ("products", {"id": 7, "type": "variation"}, "is a variation"),
        ("coupons", {"id": 7, "code": ""}, "code is none"),
        ("orders", order(meta_data=[float("inf")]), "finite"),
    ],
)
def test_what_cannot_be_read_has_its_reason(kind: Kind, row: dict[str, Any], reason: str) -> None:
    told = read(kind, row, KEY)
    assert reason in (told.skipped or "")
    assert became(told, None, "history") == "skipped"


def test_a_version_is_known_again_by_its_content_on_its_lane() -> None:
    first = input_of("orders", seen(), SECRETS, "history", NOW)
    again = input_of("orders", seen(links=["changed"]), SECRETS, "history", NOW + GRACE)
    assert first.digest == again.digest
    others = [
        input_of("orders", seen(status="completed"), SECRETS, "history", NOW),
        input_of("orders", seen(), SECRETS, "live", NOW),
        input_of("orders", seen(), StoreSecrets(UUID(int=2), KEY, "", ""), "history", NOW),
    ]
    assert len({first.digest, *(other.digest for other in others)}) == 4


def test_a_product_that_is_again_what_it_was_is_sent_again() -> None:
    def moved(category: str, hour: int) -> bytes:
        row = {
            "id": 60,
            "date_modified_gmt": f"2026-06-01T{hour:02}:00:00",
            "categories": [{"slug": category, "name": category}],
        }
        return input_of("products", read("products", row, KEY), SECRETS, "history", NOW).digest

    assert moved("shoes", 1) == moved("shoes", 1)
    assert len({moved("shoes", 1), moved("boots", 2), moved("shoes", 3)}) == 3


def test_a_reason_holds_nothing_that_cannot_be_stored() -> None:
    told = read("orders", order(meta_data=[{"key": "x", "value": {"a\0\ud800b": float("nan")}}]), KEY)
    assert told.skipped == "meta_data.0.value.a\\ud800b must be a finite number"


def test_of_a_coupon_nobody_who_may_use_it_is_kept() -> None:
    row = read("coupons", {"id": 9, "code": "Ten", "usage_limit_per_user": 1, "used_by": ["jane@example.com"]}, KEY)
    assert row.data == Coupon(code="ten", once=True)
    assert b"jane" not in input_of("coupons", row, SECRETS, "history", NOW).body


def test_a_card_s_brand_is_news_of_a_version_that_was_stored_before_brands_were_read() -> None:
    row = seen(meta_data=[{"key": "_card_brand", "value": "visa"}])
    assert isinstance(row.data, Order)
    assert row.data.card_brand == "visa"
    assert became(row, known(row), "history") == "changed"
    assert became(row, known(row, card_brand="visa"), "history") == "unchanged"


# Books ----------------------------------------------------------------------------------------------------------------

ROWS = st.lists(
    st.tuples(st.integers(1, 99), st.sampled_from(["new", "changed", "unchanged", "skipped"]), st.integers(0, 30))
)


@given(st.lists(ROWS, max_size=6))
def test_books_hold_however_the_rows_came(pages: list[Any]) -> None:
    books = Books()
    for page in pages:
        books = entered(books, [(Seen(n, skipped=f"reason {why}"), what) for n, what, why in page])
    told = books.result()
    skipped = sum(reason["count"] for reason in told["skipped"])
    assert told["seen"] == told["new"] + told["changed"] + told["unchanged"] + skipped == sum(map(len, pages))
    assert len(told["skipped"]) <= MAX_REASONS + 1
    assert all(len(reason["ids"]) <= min(10, reason["count"]) for reason in told["skipped"])


# Gaps -----------------------------------------------------------------------------------------------------------------


def missed(row: Seen, *webhooks: bytes, scorer: Known | None = None, after: timedelta = timedelta(hours=1)) -> set[int]:
    assert row.modified_at
    waiting = late([row], {row.id: scorer} if scorer else {}, row.modified_at + after, GRACE)
    return untold(waiting, webhooks, KEY)


def webhook(**changes: Any) -> bytes:
    return json.dumps(order(**changes)).encode()


def test_an_order_that_nobody_told_is_a_gap_once_a_webhook_had_its_time() -> None:
    assert missed(seen()) == {4821}
    assert missed(seen(), after=timedelta(minutes=1)) == set()


def test_what_the_scorer_has_or_a_webhook_brought_is_none() -> None:
    row = seen()
    assert missed(row, scorer=known(row)) == set()
    assert missed(row, webhook()) == set()
    assert missed(row, webhook(date_modified_gmt="2026-05-28T16:59:00")) == set()


def test_an_older_version_or_another_order_or_a_deletion_does_not_tell_it() -> None:
    row = seen()
    older = known(row, modified_at=NOW - timedelta(days=30), digest=b"older")
    others = (webhook(id=7), webhook(date_modified_gmt="2026-05-28T16:44:59"), b'{"id": 4821}', b'{"id": []}', b"")
    assert missed(row, *others, scorer=older) == {4821}


def test_a_deletion_tells_of_an_order_that_lies_in_the_trash() -> None:
    row = seen(status="trash")
    assert missed(row) == {4821}
    assert missed(row, b'{"id": 4821}') == set()
