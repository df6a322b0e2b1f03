"""`trustlens personas`: made-up customers go in, and each is judged for what it does."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import api, progress
from cli.answers import Customer, Ingested, Signal, Store
from cli.api import Api, ApiError
from cli.explanation import plain
from cli.personas import Persona, personas

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
BATCH = 500
"""The most events that one request may bring."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A persona and what became of it; without a customer, nothing yet."""

    persona: Persona
    customer: Customer | None

    @property
    def points(self) -> Mapping[str, int]:
        return points_of(self.customer.signals) if self.customer else {}

    @property
    def as_expected(self) -> bool:
        return self.customer is not None and self.points == self.persona.points


def points_of(signals: Iterable[Signal]) -> dict[str, int]:
    """The sum of each module that has any points."""
    sums: Counter[str] = Counter()
    for signal in signals:
        sums[signal.module] += signal.points
    return {module: points for module, points in sums.items() if points}


def strongest(customer: Customer) -> Signal | None:
    return max(customer.signals, key=lambda signal: abs(signal.points), default=None)


def complaint(judged: Judged) -> str:
    """What of a persona is not as it should be; empty if all is."""
    if judged.customer is None:
        return f"{judged.persona.email} is not known yet."
    modules = sorted({*judged.points, *judged.persona.points})
    differ = [
        f"{module} {judged.points.get(module, 0):+d}, should be {judged.persona.points.get(module, 0):+d}"
        for module in modules
        if judged.points.get(module, 0) != judged.persona.points.get(module, 0)
    ]
    return f"{judged.persona.email}: {'; '.join(differ)}." if differ else ""


def table(cast: Sequence[Judged]) -> Table:
    """Two lines each: the judgement, and what to type for its reasons."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    for judged in cast:
        score, segment, signal = _judgement(judged.customer)
        shown = Text.assemble((judged.persona.name, "bold"), signal, "\n", (_explain(judged.persona), "dim"))
        grid.add_row(score, Text(segment), shown)
    return grid


def _judgement(customer: Customer | None) -> tuple[str, str, str]:
    if customer is None:
        return "?", "unknown", ""
    signal = strongest(customer)
    told = f": {plain(signal.module)} {signal.points:+d}" if signal and signal.points else ""
    return str(customer.trust_score), customer.segment_label, told


def _explain(persona: Persona) -> str:
    return f"trustlens explain {persona.email}"


async def play(api: Api, cast: Sequence[Persona], *, history: bool, patience: float) -> list[Judged]:
    """Post the events of all and wait until every score is as expected, at most `patience` seconds."""
    await _post(api, cast, history=history)
    deadline = time.monotonic() + patience
    while True:
        judged = [Judged(persona, await _look_up(api, persona.email)) for persona in cast]
        if all(one.as_expected for one in judged) or time.monotonic() > deadline:
            return judged
        await asyncio.sleep(POLL_SECONDS)


async def _post(api: Api, cast: Sequence[Persona], *, history: bool) -> None:
    events = [event for persona in cast for event in persona.events]
    for start in range(0, len(events), BATCH):
        answer = await api.post("/ingest/events", {"events": events[start : start + BATCH], "history": history})
        for result in map(Ingested.model_validate, answer["results"]):
            if result.status == "rejected":
                raise ApiError(f"The API refused the event {result.id}: {result.field} {result.message}.")


async def _look_up(api: Api, email: str) -> Customer | None:
    try:
        return Customer.model_validate(await api.get("/customers/lookup", email=email))
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def perform(api: Api, *, now: datetime, history: bool, patience: float) -> list[Judged]:
    """A new cast, in the store's own currency: seconds since 1970 tell one run from another."""
    store = Store.model_validate(await api.get("/store"))
    cast = personas(now, int(now.timestamp()), store.currency or "EUR")
    return await play(api, cast, history=history, patience=patience)


def command(
    *,
    history: Annotated[bool, typer.Option("--history", help="As old data: no webhooks, no rules.")] = False,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for the scores.")] = PATIENCE_SECONDS,
) -> None:
    """Let made-up customers show what each detection module finds.

    They stay in the store, each at an address under personas.example.
    Exit code 1: somebody's signals are not what the default settings give.
    """
    with progress.step("Personas"):
        cast = api.run(lambda api: perform(api, now=datetime.now(UTC), history=history, patience=patience))
    console = Console(highlight=False)
    console.print(table(cast))
    complaints = [text for text in map(complaint, cast) if text]
    if complaints:
        console.print(
            Text("\nNot as expected with the default settings (`trustlens scoring show` prints this store's):"),
            *(Text(text, style="red") for text in complaints),
            sep="\n",
        )
        raise typer.Exit(1)
    console.print(f"\nAll {len(cast)} are as expected.")
