"""docs/logging.md names every event that services write, with its levels and keys; and none that they do not."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from local_stack.folder import CHECKOUT
from shared import log

DOCUMENT = (CHECKOUT / "docs" / "logging.md").read_text()
SOURCES = sorted([*CHECKOUT.glob("services/*/src/**/*.py"), *CHECKOUT.glob("shared/src/**/*.py")])
LEVELS = {"debug", "info", "warning", "error"}
NAMED = {"ATTEMPT": log.ATTEMPT}


@dataclass(frozen=True)
class Written:
    event: str
    level: str
    keys: frozenset[str]
    place: str


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger, with its place: `log` is what they are called, everywhere."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_logger(node.func.value):
                yield f"{path.relative_to(CHECKOUT)}:{node.lineno}", node


def _is_logger(node: ast.expr) -> bool:
    match node:
        case ast.Name(id="log"):
            return True
        case ast.Call(func=ast.Attribute(attr="get_logger")):
            return True
    return False


def lines() -> Iterator[Written]:
    for place, call in calls():
        assert isinstance(call.func, ast.Attribute)
        assert call.func.attr in LEVELS, f"{place}: {call.func.attr} is no level"
        match call.args:
            case [ast.Constant(value=str(event))]:
                pass
            case [ast.Name(id=name)] if name in NAMED:
                event = NAMED[name]
            case _:
                raise AssertionError(f"{place}: an event's name is a text, and the only argument without a key")
        yield Written(event, call.func.attr, frozenset(filter(None, (key.arg for key in call.keywords))), place)


def rows(heading: str) -> Iterator[list[str]]:
    """Of the tables under this heading, and those below it, without their heads."""
    level = heading.partition(" ")[0]
    section = re.split(rf"^{level} ", DOCUMENT.partition(f"\n{heading}\n")[2], flags=re.MULTILINE)[0]
    for line in section.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def ticked(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def told() -> dict[str, set[str]]:
    """The events of the document, with their levels."""
    return {cells[0].strip("`"): set(cells[1].split(", ")) for cells in rows("## The events")}


def test_every_event_is_in_the_document_with_its_levels() -> None:
    written: dict[str, set[str]] = {}
    for line in lines():
        written.setdefault(line.event, set()).add(line.level)
    assert len(written) > 50
    assert written == told()


def test_every_key_is_in_the_document() -> None:
    known = set().union(*(ticked(cells[0]) for cells in rows("## The keys")))
    assert known
    assert [f"{line.place}: {key}" for line in lines() for key in line.keys - known] == []


def test_events_are_named_after_what_and_what_happened() -> None:
    assert [line for line in lines() if not re.fullmatch(r"[a-z]+\.[a-z_]+", line.event)] == []
