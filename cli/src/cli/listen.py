"""`trustlens listen`: see deliveries arrive, and whether they are what they claim to be."""

import asyncio
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.receiver import Answer, Received, Receiver, parse_answer

COLUMNS = 80


def _plain(text: str) -> str:
    """Without control characters: an unverified request must not get to drive the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _ending(received: Received) -> str:
    return "verified" if received.answer == 200 else f"ok, {received.answer}"


def line(received: Received) -> str:
    """One delivery in at most 80 columns; of an unverified one only what helps to find out why."""
    at = datetime.fromtimestamp(received.received_at, UTC).strftime("%H:%M:%S")
    event, delivery = received.event or "(no event)", received.delivery_id[:8]
    if not received.verified:
        return _plain(f"{at} {event:.26} {delivery:8} NOT VERIFIED: {received.verdict}")[:COLUMNS]
    score = "" if received.score is None else f"{received.score} {received.segment}"
    return _plain(f"{at} {event:26.26} {received.customer:12.12} {score:12.12} {delivery:8} {_ending(received)}")


def _answer(text: str) -> Answer:
    if (answer := parse_answer(text)) is None:
        raise typer.BadParameter("a status from 200 to 599, or hang")
    return answer


async def run(receiver: Receiver) -> None:
    """Listen until cancelled."""
    async with receiver:
        typer.echo(f"Listening on {receiver.url('/hooks')} (Ctrl-C ends it)")
        await asyncio.Event().wait()


def listen(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one and prints it.")] = 0,
    secret: Annotated[
        str,
        typer.Option(envvar="TRUSTLENS_WEBHOOK_SECRET", help="The endpoint's secret; one is made if none is given."),
    ] = "",
    host: Annotated[str, typer.Option(help="Address to listen on: 0.0.0.0 for all, as in a container.")] = "127.0.0.1",
    answer: Annotated[str, typer.Option(help="200, 500, 410, any status, or hang.")] = "200",
    ledger: Annotated[Path | None, typer.Option(help="Append one JSON line per request to this file.")] = None,
) -> None:
    """Receive webhooks on this machine, verify and print them.

    The paths /hooks/500, /hooks/410, /hooks/hang answer as they are called, so does ?answer=STATUS;
    `curl -X PUT 'URL?answer=503'` changes a path while the receiver runs.
    """
    if not secret:
        secret = secrets.token_urlsafe(32)
        typer.echo(f"Register the endpoint with this secret: {secret}")
    receiver = Receiver(
        secret=secret,
        answer=_answer(answer),
        host=host,
        port=port,
        remember=1,  # it prints; whoever wants to keep asks for a ledger
        ledger=ledger,
        on_received=lambda received: typer.echo(line(received)),
    )
    try:
        asyncio.run(run(receiver))
    except KeyboardInterrupt:
        typer.echo(f"{receiver.total} received")
    except OSError as error:
        typer.echo(f"Cannot listen on port {port}: {error.strerror or error}", err=True)
        raise typer.Exit(1) from error
