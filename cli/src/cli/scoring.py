"""`trustlens scoring`: how this store turns facts into points."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import api
from cli.answers import Store
from cli.jobs import watched
from shared.jsontext import dumps

app = typer.Typer(help="How this store turns facts into scores.", no_args_is_help=True)


def patch_of(assignments: Sequence[str]) -> dict[str, Any]:
    """`a.b=1` words → the JSON merge patch {"a": {"b": 1}}. A value is JSON if it can be, else text; null resets.

    Raises:
        ValueError: a word is no assignment, or contradicts another.
    """
    patch: dict[str, Any] = {}
    for word in assignments:
        path, equals, value = word.partition("=")
        keys = path.split(".")
        if not equals or not all(keys):
            raise ValueError(f"{word} is no KEY=VALUE, like min_orders=5 or modules.returns.weight=0.5.")
        _assign(patch, keys, _value(value))
    return patch


def _assign(patch: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    *parents, last = keys
    for key in parents:
        patch = patch.setdefault(key, {})
        if not isinstance(patch, dict):
            raise ValueError(f"{'.'.join(keys)} lies inside a key that has a value already.")  # noqa: TRY004  # as above
    if last in patch:
        raise ValueError(f"{'.'.join(keys)} is given twice.")
    patch[last] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Every setting with its dotted key, its value as `set` takes it."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, dumps(value)


@app.command()
def show() -> None:
    """Print every setting with its key, as `set` takes it."""
    store = Store.model_validate(api.run(lambda api: api.get("/store")))
    grid = Table.grid(padding=(0, 2))
    for key, value in flat(store.model_dump()):
        grid.add_row(key, Text(value))
    Console(highlight=False).print(grid)


@app.command("set")
def set_settings(
    assignments: Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="As `show` prints them.")],
) -> None:
    """Change settings, and wait until every score is computed by them. null takes a setting back to its default."""
    try:
        patch = patch_of(assignments)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    answer = api.run(lambda api: api.patch("/store", patch))
    if answer["job_id"] is None:
        typer.echo("Nothing changed.")
        return
    watched(answer["job_id"])
