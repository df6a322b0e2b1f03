"""docs/configuration.md has every variable that is read, as it is read."""

import re
from pathlib import Path

import pytest

from local_stack.folder import CHECKOUT
from shared.settings import DatabaseSettings, load
from support import configuration
from support.configuration import COUNTS, FILE, PROCESSES, settings, unit, variable

PAGE = FILE.read_text(encoding="utf-8")
ELSEWHERE = {"TRUSTLENS_MAKE_BEGAN", "TRUSTLENS_"}
"""What the Makefile tells its own tests, and beginnings of names."""


def test_the_table_of_settings_is_what_the_settings_are() -> None:
    assert configuration.written(PAGE) == PAGE, "made anew by: python -m support.configuration, in tests/"


@pytest.mark.parametrize("name", settings())
def test_a_setting_says_what_it_means_and_a_number_its_unit(name: str) -> None:
    field = settings()[name]
    assert field.description
    if configuration.is_number(field):
        assert unit(name) or name in COUNTS


def test_every_variable_that_a_file_of_ours_names_is_on_the_page() -> None:
    told = set(re.findall(r"TRUSTLENS_[A-Z_]+", PAGE))
    assert {name: place for name, place in named().items() if name not in told | ELSEWHERE} == {}


def named() -> dict[str, str]:
    folders = ("services", "shared", "cli", "deploy")
    files = [CHECKOUT / "Makefile", *(path for folder in folders for path in (CHECKOUT / folder).rglob("*"))]
    read = (path for path in files if path.suffix in {".py", ".yaml", ".env", ""} and path.is_file())
    return {name: str(path) for path in read for name in re.findall(r"TRUSTLENS_[A-Z_]+", path.read_text())}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_tells_all_mistakes_at_once_and_does_not_start(
    process: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kind: type[DatabaseSettings] = PROCESSES[process]
    wrong = [name for name, field in kind.model_fields.items() if configuration.is_number(field)]
    for name in kind.model_fields:
        monkeypatch.delenv(variable(name), raising=False)
    for name in wrong:
        monkeypatch.setenv(variable(name), "-1")
    with pytest.raises(SystemExit) as ended:
        load(kind, tmp_path)
    missing = [name for name, field in kind.model_fields.items() if field.is_required()]
    told = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert ended.value.code == 2
    assert sorted(told) == sorted(map(variable, [*wrong, *missing]))
