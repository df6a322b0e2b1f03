"""The network of a card, in whatever way gateways write it."""

import pytest

from api.ingest import cards
from shared.events import CARD_BRANDS


@pytest.mark.parametrize("brand", CARD_BRANDS)
def test_each_brand_is_known_in_any_case_and_with_any_blanks(brand: str) -> None:
    for written in (brand, brand.upper(), brand.replace("_", " ").title(), f" {brand.replace('_', '-')} "):
        assert cards.brand(written) == brand


@pytest.mark.parametrize(
    ("written", "brand"),
    [
        ("American Express", "amex"),
        ("MC", "mastercard"),
        ("disc", "discover"),
        ("Diners Club", "diners"),
        ("dinersclub", "diners"),
        ("China UnionPay", "unionpay"),
        ("Carte Bancaire", "cartes_bancaires"),
        ("Visa Debit", "visa"),
    ],
)
def test_other_names_of_a_brand_are_it(written: str, brand: str) -> None:
    assert cards.brand(written) == brand


@pytest.mark.parametrize("written", ["", "unknown", "card", "link", "4242", "visa mastercard"])
def test_what_is_no_brand_is_none(written: str) -> None:
    assert cards.brand(written) is None
