"""Rules in files, as people write them."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.explanation import plain

STDIN = "-"
File = Annotated[str, typer.Argument(metavar="FILE", help="A rule in JSON; - reads it from the standard input.")]


def read(file: str) -> Any:
    """
    Raises:
        BadParameter: there is no such file, or no JSON in it.
    """
    try:
        return json.loads(sys.stdin.read() if file == STDIN else Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{plain(file)} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise typer.BadParameter(f"{plain(file)} is not JSON: {plain(str(error))}") from None


def drafted(given: str) -> dict[str, Any]:
    """What a body says of the rule: the draft in a file, or nothing of a rule that there is.

    Raises:
        BadParameter: the file cannot be read.
    """
    return {"rule": read(given)} if given == STDIN or given.endswith(".json") or _is_file(given) else {}


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except OSError:  # longer than a file's name can be, as a rule's name may be
        return False
