"""What is committed: nothing of one machine or one registry, a whole lock, and commands that exist."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cli.app import app
from local_stack.folder import CHECKOUT

HASH_LENGTH = 64

# Put together here, so that this file does not contain what it forbids.
REGISTRIES = [
    ".".join(name)
    for name in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("docker", "io"),
        ("gcr", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("crates", "io"),
    )
]
PLACES = ["/".join(("", *parts)) for parts in (("work", "main"), ("work", "shared"), ("root", "."), ("tmp", "probe"))]


def committed() -> Iterator[tuple[Path, str]]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        path = CHECKOUT / name
        if path.is_file():  # one that was removed is listed until the removal is committed
            yield Path(name), path.read_bytes().decode(errors="replace")


def documents() -> Iterator[tuple[Path, str]]:
    return ((name, text) for name, text in committed() if name.suffix == ".md")


def code_of(markdown: str) -> str:
    """What a reader would type: the blocks and the words between backticks."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", markdown, re.DOTALL))


@pytest.mark.parametrize("word", REGISTRIES + PLACES)
def test_no_file_names_a_registry_or_a_place_on_one_machine(word: str) -> None:
    assert [str(name) for name, text in committed() if word in text] == []


def test_every_requirement_in_the_lock_has_a_version_and_hashes() -> None:
    lock = (CHECKOUT / "requirements.lock").read_text().replace("\\\n", " ")
    requirements = [line for line in lock.splitlines() if line.strip() and not line.startswith("#")]
    assert len(requirements) > 20
    whole = re.compile(rf"[\w.\[\]-]+==\S+( ; .*?)?(\s+--hash=sha256:[0-9a-f]{{{HASH_LENGTH}}})+\s*")
    assert [line for line in requirements if not whole.fullmatch(line)] == []


def test_the_lock_has_what_the_packages_ask_for() -> None:
    lock = (CHECKOUT / "requirements.lock").read_text()
    locked = set(re.findall(r"^([\w.-]+?)(?:\[.*?\])?==", lock, re.MULTILINE))
    projects = [text for name, text in committed() if name.name == "pyproject.toml"]
    asked = {name for text in projects for name in re.findall(r'^    "([\w-]+)(?:\[.*?\])?>=', text, re.MULTILINE)}
    assert asked
    assert asked - locked == set()


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = {target for _, text in documents() for target in re.findall(r"\bmake ([a-z]+)\b", code_of(text))}
    assert named - targets == set()


def test_every_trustlens_command_that_a_document_names_exists() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a group: it has several
    named = {command for _, text in documents() for command in re.findall(r"\btrustlens ([a-z]+)\b", code_of(text))}
    assert named - commands == set()
