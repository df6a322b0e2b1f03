from typing import Any

import pytest
from typer.testing import CliRunner

from cli.answers import Customer
from cli.customers import app, facts, line, listed


def customer(**fields: Any) -> Customer:
    known = {
        "email_hash": "ab" * 32,
        "trust_score": 34,
        "segment": "risk",
        "segment_label": "Risk",
        "total_orders": 12,
        "total_refunds": 5,
        "return_rate": "41.7",
        "total_order_value": "1380.00",
        "total_refund_value": "575.00",
        "is_blocked": False,
        "is_allowlisted": False,
        "first_order_date": "2025-03-12 09:14:00",
        "last_order_date": "2026-05-28 16:42:00",
    }
    return Customer.model_validate(known | fields)


def test_a_list_has_a_line_for_each_with_the_address_where_it_is_known():
    assert line(customer()) == f" 34 Risk         12 orders   41.7 % returned  {'ab' * 32}"
    assert line(customer(email="jane@shop.example", total_orders=1, is_blocked=True)) == (
        " 34 Risk           1 order   41.7 % returned  jane@shop.example  blocked"
    )
    assert listed([]) == ["There is no such customer."]


def test_facts_are_what_the_heading_leaves_out():
    bought = "1380.00 spent, 575.00 refunded"
    assert facts(customer()) == [f"{bought}; first order 2025-03-12 09:14:00, last 2026-05-28 16:42:00"]
    assert facts(customer(first_order_date=None, linked_accounts_count=1, tags=["b2b", "vip"])) == [
        bought,
        "linked to 1 account",
        "tags: b2b, vip",
    ]


def test_a_tag_cannot_drive_the_terminal():
    assert facts(customer(tags=["\x1b[31m"]))[1] == "tags: ?[31m"


@pytest.mark.parametrize(
    "words", [["list", "--min-score", "101"], ["list", "--limit", "0"], ["tag", "jane@x"], ["show"]]
)
def test_what_cannot_be_asked_is_refused_before_anything_is(words: list[str]):
    assert CliRunner().invoke(app, words).exit_code == 2
