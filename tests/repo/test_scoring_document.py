"""docs/scoring.md names every setting with its default, and every point that there is."""

import json
import re
from collections.abc import Iterable
from types import ModuleType

import pytest

from cli.scoring import flat
from local_stack.folder import CHECKOUT
from scorer.modules import (
    account_age,
    card_testing,
    categories,
    chargebacks,
    coupons,
    linked_accounts,
    orders,
    returns,
    shipping,
)
from scorer.scoring import Modules, Scoring

TEXT = (CHECKOUT / "docs" / "scoring.md").read_text(encoding="utf-8")
MODULES: dict[str, ModuleType] = {
    "returns": returns,
    "orders": orders,
    "coupons": coupons,
    "categories": categories,
    "linked_accounts": linked_accounts,
    "shipping_anomalies": shipping,
    "chargebacks": chargebacks,
    "card_testing": card_testing,
    "account_age": account_age,
}


def defaults() -> dict[str, str]:
    """As the document writes them: what every module has stands there once, for all."""
    written = {}
    for key, value in flat(Scoring().model_dump(mode="json")):
        written[re.sub(r"^modules\.\w+\.(enabled|weight)$", r"modules.<name>.\1", key)] = value
    return written


def numbers(found: object) -> Iterable[int]:
    match found:
        case int():
            yield found
        case tuple():
            yield from found
        case dict():
            yield from found.values()


def points_of(module: ModuleType) -> set[int]:
    names = [name for name in vars(module) if name == "POINTS" or name.endswith("_POINTS") or name == "LOWEST"]
    return {points for name in names for points in numbers(vars(module)[name])}


def points_written(name: str) -> set[int]:
    """In the rows from the module's name to the next one's."""
    rows = TEXT[TEXT.index("### What the modules look for") : TEXT.index("Where lines of one module")].splitlines()
    written: set[int] = set()
    module = ""
    for cells in (row.split("|") for row in rows if row.startswith("| ")):
        module = cells[1].strip().strip("`") or module
        if module == name and (points := re.search(r"[+-]\d+", cells[3])):
            written.add(int(points[0]))
    return written


def test_every_setting_is_documented_with_its_default():
    rows = dict(re.findall(r"^\| `([\w.<>]+)` \| `([^`]+)` \|", TEXT, re.MULTILINE))
    assert {key: json.loads(value) for key, value in rows.items()} == {
        key: json.loads(value) for key, value in defaults().items()
    }


def test_every_module_is_documented():
    assert list(MODULES) == list(Modules.model_fields)


@pytest.mark.parametrize("name", MODULES)
def test_every_point_that_a_module_may_give_is_documented(name):
    assert points_written(name) == points_of(MODULES[name])
