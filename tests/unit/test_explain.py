from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cli.answers import Customer, Scored, Signal
from cli.explanation import changes, evidence, explanation, kept, moved_modules, sparkline, sum_in_words, total

HASH = "3f" * 32


def customer(**given) -> Customer:
    defaults = {
        "email_hash": HASH,
        "trust_score": 50,
        "segment": "normal",
        "segment_label": "Normal",
        "total_orders": 12,
        "total_refunds": 10,
        "return_rate": Decimal("83.3"),
        "is_blocked": False,
        "is_allowlisted": False,
    }
    return Customer.model_validate(defaults | given)


def signal(module: str, points: int, reason: str = "A reason.", evidence: tuple[int | str, ...] = ()) -> Signal:
    return Signal(module=module, points=points, reason=reason, evidence=evidence)


def scored(score: int, cause: str = "fact", at: str = "2026-06-05 12:00:00", **points: int) -> Scored:
    return Scored(at=at, trust_score=score, segment="normal", points={"base": 50, **points}, cause=cause)


def printed(shown: Customer, history=(), *, email: str = "ann@shop.example", whole: bool = True) -> str:
    console = Console(width=80, highlight=False, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(explanation(email, shown, history, whole=whole))
    return capture.get()


SERIAL = customer(
    trust_score=0,
    segment="critical",
    segment_label="Critical",
    is_blocked=True,
    total_disputes=1,
    signals=(
        signal("returns", -55, "10 of 12 orders had a refund (83.3 %).", tuple(range(101, 111))),
        signal("linked_accounts", -30, "Shares a shipping address with 3 other customers.", (HASH, "ab" * 32)),
        signal("chargebacks", -40, "1 chargeback was lost.", ("dp_1",)),
        signal("account_age", 15, "The first completed order was on 2025-01-02, at least 365 days ago."),
    ),
)


def test_the_head_says_who_what_and_how_much():
    head = printed(SERIAL).splitlines()[:3]
    assert head[0].strip() == "ann@shop.example"
    assert (
        " ".join(" ".join(head[1:]).split())
        == "0 Critical · 12 orders · 10 refunds, 83.3 % of orders · 1 dispute · blocked · customer 3f3f3f3f3f3f"
    )


def test_every_signal_stands_in_the_sum_with_its_sentence_and_its_evidence():
    text = " ".join(printed(SERIAL).split())
    assert "50 base" in text
    assert "-55 returns 10 of 12 orders had a refund (83.3 %). orders 101, 102, 103, 104, 105 and 5 more" in text
    assert "customers 3f3f3f3f3f3f, abababababab" in text
    assert "-40 chargebacks 1 chargeback was lost. dispute dp_1" in text
    assert "+15 account_age The first completed order was on 2025-01-02" in text


def test_the_clamp_is_shown_where_it_bites():
    assert "= -60, kept at 0" in printed(SERIAL)
    good = customer(trust_score=100, signals=(signal("orders", 60),))
    assert "= 110, kept at 100" in printed(good)
    assert "= 60\n" in printed(customer(trust_score=60, signals=(signal("orders", 10),))).replace(" \n", "\n")


def test_a_sum_that_is_not_the_stored_score_is_pointed_out():
    text = " ".join(printed(customer(trust_score=61, signals=(signal("orders", 10),))).split())
    assert "This does not add up to the stored 61" in text
    assert "does not add up" not in printed(SERIAL)


def test_of_an_allowlisted_customer_no_sum_is_shown():
    text = " ".join(printed(customer(trust_score=100, is_allowlisted=True)).split())
    assert "Allowlisted: the score is 100" in text
    assert "base" not in text


def test_too_little_data_is_said():
    text = " ".join(
        printed(customer(signals=(signal("system", 0, "insufficient data (1/3 orders)"),))).split(),
    )
    assert "+0 system insufficient data (1/3 orders)" in text
    assert "Too little is known" in text


def test_it_fits_80_columns_and_shows_no_other_address_and_no_whole_hash():
    history = [
        scored(10 + n, returns=-n, orders=n, linked_accounts=-2 * n, chargebacks=-40 - n, shipping_anomalies=-n)
        for n in range(40)
    ]
    text = printed(SERIAL, history)
    assert max(map(len, text.splitlines())) <= 80
    assert HASH not in text
    assert text.count("@") == 1


@pytest.mark.parametrize("hostile", ["[bold red]x[/]", "\x1b[2J", "a\nb", "[/nonsense]"])
def test_words_of_the_store_neither_drive_the_terminal_nor_are_read_as_markup(hostile):
    shown = customer(signals=(signal(hostile, 0, hostile, (hostile,)),))
    text = printed(
        shown,
        [scored(50, hostile), Scored(at="", trust_score=40, segment="normal", points={hostile: -10}, cause="fact")],
        email=f"{hostile}@shop.example",
    )
    assert "\x1b" not in text
    if hostile.isprintable():
        assert hostile in text


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ((7,), "order 7"),
        ((7, 8), "orders 7, 8"),
        ((1, 2, 3, 4, 5, 6), "orders 1, 2, 3, 4, 5 and 1 more"),
        (tuple(range(1, 21)), "orders 1, 2, 3, 4, 5 and at least 15 more"),
        (("dp_1", "dp_2"), "disputes dp_1, dp_2"),
        ((HASH,), "customer 3f3f3f3f3f3f"),
        ((7, HASH), "order 7; customer 3f3f3f3f3f3f"),
    ],
)
def test_evidence_is_named_by_what_it_is(ids, told):
    assert evidence(ids) == told


@given(st.lists(st.integers(-80, 40), max_size=12))
def test_the_sum_shown_is_the_sum_of_the_signals(points):
    value = total([signal("orders", one) for one in points])
    assert value == 50 + sum(points)
    assert sum_in_words(value).split(",")[0] == str(value)
    assert ("kept" in sum_in_words(value)) == (kept(value) != value)


@given(st.lists(st.integers(0, 100), min_size=1))
def test_a_sparkline_has_a_bar_for_each_score_and_rises_with_it(scores):
    assert len(sparkline(scores)) == len(scores)
    assert list(sparkline(sorted(scores))) == sorted(sparkline(scores))


def test_the_lowest_and_the_highest_score_have_the_lowest_and_the_highest_bar():
    assert sparkline([0, 100]) == "▁█"


def test_the_trend_runs_from_the_oldest_to_the_newest():
    text = printed(customer(), [scored(0), scored(50), scored(100, at="2026-01-02 03:04:05")])
    assert "Trend  █▄▁  from 100 to 0 since 2026-01-02" in text


def test_a_change_names_the_modules_that_moved_the_most_first():
    older, newer = scored(55, orders=5), scored(15, orders=10, returns=-40, coupons=-5)
    assert moved_modules(older, newer) == "returns -40, coupons -5, orders +5"


def test_a_change_of_the_allowlist_is_called_that():
    low, allowed = scored(10, returns=-40), Scored(at="", trust_score=100, segment="vip", points={}, cause="command")
    assert moved_modules(low, allowed) == "allowlisted"
    assert moved_modules(allowed, low) == "allowlist removed"


def test_a_segment_may_move_without_any_points():
    assert moved_modules(scored(50), scored(50, "settings")) == "the segment alone"


def test_only_the_oldest_entry_of_a_whole_history_is_the_first_score():
    history = [scored(55, "link", orders=5), scored(50)]
    assert [change.moved for change in changes(history, whole=True)] == ["orders +5", "first score"]
    assert [change.moved for change in changes(history, whole=False)] == ["orders +5"]
    assert [change.cause for change in changes(history, whole=True)] == ["a linked customer", "the store's data"]


def test_a_customer_without_history_or_with_one_score_has_no_trend():
    assert "Trend" not in printed(customer())
    one = printed(customer(), [scored(50)])
    assert "Trend" not in one
    assert "first score" in one
