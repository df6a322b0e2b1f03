"""docs/delivery.md names tests and settings: they are there, with the defaults it tells."""

import re
from pathlib import Path

import pytest

from dispatcher import deliveries
from dispatcher.settings import DispatcherSettings

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "delivery.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"\b([ui]) `(test_\w+\.py)::(\w+)`", DOCUMENT)))
FOLDERS = {"u": "unit", "i": "integration"}


@pytest.mark.parametrize(("folder", "file", "name"), NAMED)
def test_each_test_that_it_names_is_there(folder: str, file: str, name: str) -> None:
    text = (REPOSITORY / "tests" / FOLDERS[folder] / file).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\b|^{name} = ", text, re.MULTILINE)


def test_each_subject_names_a_test_or_the_bench() -> None:
    table = DOCUMENT.partition("| subject | ours | test |")[2].strip().splitlines()[1:]
    assert len(table) == 16
    assert all("::" in row or "`make bench`" in row for row in table)


def test_each_setting_has_the_default_that_it_tells() -> None:
    told = dict(re.findall(r"`TRUSTLENS_([A-Z_]+)` \| `?([\d.,]+)`?", DOCUMENT))
    assert told
    for name, default in told.items():
        stored = DispatcherSettings.model_fields[name.lower()].default
        values = stored if isinstance(stored, tuple) else (stored,)
        assert [float(part) for part in default.split(",")] == [float(value) for value in values]


def test_it_draws_every_state() -> None:
    drawing = DOCUMENT.partition("```mermaid")[2].partition("```")[0]
    for status in deliveries.Status.__args__:  # type: ignore[attr-defined]  # a Literal has them
        assert re.search(rf"\b{status}\b", drawing)
