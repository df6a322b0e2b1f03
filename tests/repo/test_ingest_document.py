"""docs/ingest.md names tests, currencies and statuses: they are there, and as the code has them."""

import re
from pathlib import Path

import pytest

from api.ingest import generic, stripe, topics

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "ingest.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"\b([ui]) `(test_\w+\.py)::(\w+)`", DOCUMENT)))
FOLDERS = {"u": "unit", "i": "integration"}


@pytest.mark.parametrize(("folder", "file", "name"), NAMED)
def test_each_test_that_it_names_is_there(folder: str, file: str, name: str) -> None:
    text = (REPOSITORY / "tests" / FOLDERS[folder] / file).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\b", text, re.MULTILINE)


def test_each_line_of_what_stores_send_names_a_test() -> None:
    table = DOCUMENT.partition("| what | ours | test |")[2].strip().splitlines()[1:]
    assert len(table) >= 27
    assert all("::" in row for row in table)


def test_it_names_every_topic_that_has_an_effect() -> None:
    written = set(re.findall(r"`((?:order|product|coupon)\.\w+)`", DOCUMENT.partition("All others are accepted")[0]))
    assert written == set(topics.READ)


def test_it_names_every_type_of_event() -> None:
    written = re.findall(
        r"^\| `(\w+)` \|", DOCUMENT.partition("| type | `data` |")[2].partition("\n\n")[0], re.MULTILINE
    )
    assert written == list(generic.TYPES)


def test_it_names_stripe_s_statuses_and_the_currencies_without_two_decimals() -> None:
    assert all(f"`{status}`" in DOCUMENT for status in generic.STRIPE_STATUSES)
    amounts = DOCUMENT.partition("**Amounts** come")[2].partition("**Status:**")[0]
    whole, _, thousandths = amounts.partition("thousandths")
    assert set(re.findall(r"\b[A-Z]{3}\b", whole)) == stripe.NO_DECIMALS
    assert set(re.findall(r"\b[A-Z]{3}\b", thousandths.partition("hundredths")[0])) == stripe.THREE_DECIMALS
