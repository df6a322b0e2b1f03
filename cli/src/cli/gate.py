"""`trustlens gate`: whether the checkout is frozen, and what was tried at it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cli import api
from cli.api import Api
from cli.explanation import counted, plain
from shared.jsontext import dumps

SHOWN = 10
"""Lines of each part of an attack's history."""

app = typer.Typer(help="The checkout: freeze it, unfreeze it, see attacks.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]
Told = Mapping[str, Any]


@app.command()
def status(*, json: AsJson = False) -> None:
    """Say whether the checkout is frozen."""
    freeze = api.run(lambda api: api.get("/checkout/freeze"))
    typer.echo(dumps(freeze) if json else told(freeze))


@app.command()
def freeze(
    *,
    minutes: Annotated[
        int | None, typer.Option(min=1, max=1440, help="As the store's settings say, unless given.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
) -> None:
    """Refuse every checkout from now on, but those of VIPs and allowlisted customers."""
    given = {"reason": reason} | ({} if minutes is None else {"minutes": minutes})
    typer.echo(told(api.run(lambda api: api.post("/checkout/freeze", given))))


@app.command()
def unfreeze() -> None:
    """End a freeze at once; lockouts from before it do not bring another."""

    async def work(api: Api) -> Any:
        await api.delete("/checkout/freeze")
        return await api.get("/checkout/freeze")

    typer.echo(told(api.run(work)))


@app.command()
def attacks(
    *, hours: Annotated[int, typer.Option(min=1, max=720, help="How far back.")] = 24, json: AsJson = False
) -> None:
    """Show declines, refusals and lockouts by hour, and who and what they came from."""
    found = api.run(lambda api: api.get("/checkout/attacks", hours=str(hours)))
    typer.echo(dumps(found) if json else "\n".join(history(found)))


def told(freeze: Told) -> str:
    """A sentence or two."""
    if not freeze["frozen"]:
        return "The checkout is not frozen."
    why = f": {plain(freeze['reason'])}" if freeze["reason"] else ""
    since = f"since {freeze['frozen_at']} UTC, by {plain(freeze['by'])}{why}"
    return f"The checkout is frozen until {freeze['frozen_until']} UTC ({since}).\nEnd it: trustlens gate unfreeze"


def history(attacks: Told) -> list[str]:
    """The lines of it."""
    if not attacks["hours"]:
        return [f"Nothing was declined or refused since {attacks['since']} UTC."]
    return [
        *(["The checkout is frozen until " + attacks["frozen_until"] + " UTC."] if attacks["frozen_until"] else []),
        *(f"{hour['hour']}  {_sums(hour)}" for hour in attacks["hours"][:SHOWN]),
        *_named("refused", attacks["reasons"]),
        *_named("declined", attacks["codes"]),
        *_named("countries", attacks["countries"]),
        *(
            f"device {one['fingerprint']}  {_sums(one)}, last {one['last_at']}"
            for one in attacks["fingerprints"][:SHOWN]
        ),
    ]


def _sums(one: Told) -> str:
    return f"{one['declined']} declined, {one['refused']} refused, {counted(one['lockouts'], 'lockout')}"


def _named(what: str, found: Sequence[Told]) -> list[str]:
    parts = [f"{plain(one['name']) or 'not told'} {one['count']}" for one in found[:SHOWN]]
    return [f"{what}: {', '.join(parts)}"] if parts else []
