"""`trustlens dead`: messages that no service could process, and their way back."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli import api
from cli.answers import DeadLetter
from cli.api import Api, ApiError
from cli.explanation import plain
from shared.jsontext import dumps

MAX_LISTED = 4000
"""The API looks at the 500 oldest of each of eight queues."""

app = typer.Typer(help="Messages that no service could process.", no_args_is_help=True)

QueueName = Annotated[str | None, typer.Option("--queue", help="Of this queue only, as scorer.facts.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]


@app.command("list")
def list_all(*, queue: QueueName = None, json: AsJson = False) -> None:
    """Dead messages with the reason, queue by queue, the oldest first."""
    found = api.run(lambda api: fetch(api, queue))
    if json:
        typer.echo(dumps(found))
        return
    for message in map(DeadLetter.model_validate, found):
        typer.echo("\n".join(described(message)))
    if not found:
        typer.echo("Nothing is dead.")


async def fetch(api: Api, queue: str | None) -> list[Any]:
    return await api.collect("/dead", limit=MAX_LISTED, **_place(queue))


def _place(queue: str | None) -> dict[str, str]:
    return {"queue": queue} if queue else {}


def described(message: DeadLetter) -> list[str]:
    at = message.at or "time unknown"
    return [
        plain(f"{message.id}  {message.queue}  {message.reason}"),
        plain(f"  {at}, {message.size:,} bytes, by {message.service}"),
        *([plain(f"  {message.error}")] if message.error else []),
    ]


@app.command()
def show(
    message_id: Annotated[str, typer.Argument(metavar="ID")], *, queue: QueueName = None, json: AsJson = False
) -> None:
    """Print a dead message with its body, which may be personal."""
    answer = api.run(lambda api: api.get(_path(message_id), **_place(queue)))
    if json:
        typer.echo(dumps(answer))
        return
    message = DeadLetter.model_validate(answer)
    typer.echo("\n".join([*described(message), "", plain(message.body)]))


@app.command()
def redrive(
    message_id: Annotated[str | None, typer.Argument(metavar="ID")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every one that is dead now.")] = False,
    queue: QueueName = None,
) -> None:
    """Send dead messages back to their queues: after what stopped them was mended, or they die again."""
    if everything == (message_id is not None):
        raise typer.BadParameter("name one message, or all: `trustlens dead redrive ID` or `… redrive --all`")
    if message_id is not None:
        wanted = message_id
        sent = int(api.run(lambda api: send_back(api, wanted, queue)))
        if not sent:
            raise ApiError(f"There is no dead message {plain(wanted)}: `trustlens dead list` shows those there are.")
    else:
        sent = api.run(lambda api: send_all_back(api, queue))
    typer.echo(f"{sent:,} sent back. Those that cannot be processed die again: trustlens dead list")


async def send_all_back(api: Api, queue: str | None) -> int:
    """The oldest first; those that die meanwhile, or again, are left for the next time. How many there were."""
    found: Sequence[DeadLetter] = [DeadLetter.model_validate(message) for message in await fetch(api, queue)]
    return sum([await send_back(api, message.id, message.queue) for message in found])


async def send_back(api: Api, message_id: str, queue: str | None) -> bool:
    """False: it is not there, or no longer."""
    where = f"?queue={quote(queue)}" if queue else ""
    try:
        await api.post(f"{_path(message_id)}/redrive{where}")
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def _path(message_id: str) -> str:
    return f"/dead/{quote(message_id, safe='')}"
