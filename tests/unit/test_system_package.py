"""A program is found wherever it is, and whoever lacks one is told what to install."""

from pathlib import Path

import pytest

from local_stack.errors import StackError
from local_stack.folder import Folder
from local_stack.system_package import SystemPackage

OWL = SystemPackage("owl-cli", ("owl", "owl5"), instead=", or listen at dusk")


def program(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder on the PATH: no apt-get in it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_first_program_that_is_there_is_the_one(only_place):
    second = program(only_place, "owl5")
    assert OWL.program() == second
    first = program(only_place, "owl")
    assert OWL.program() == first
    assert not OWL.is_missing()


def test_a_path_is_looked_for_where_it_points(only_place, tmp_path_factory):
    elsewhere = program(tmp_path_factory.mktemp("elsewhere"), "owl")
    assert SystemPackage("owl-cli", (str(elsewhere), "owl")).program() == elsewhere


def test_what_is_missing_is_named_with_the_way_to_get_it(only_place):
    assert OWL.is_missing()
    with pytest.raises(
        StackError, match=r"^owl-cli is missing: install it \(Debian: apt-get install owl-cli\), or listen"
    ):
        OWL.program()


def test_where_there_is_no_apt_the_user_is_told_to_install_it(only_place):
    with pytest.raises(
        StackError, match=r"^owl-cli is missing: install it \(Debian: apt-get install owl-cli\), or listen"
    ):
        OWL.install(Folder(only_place))
