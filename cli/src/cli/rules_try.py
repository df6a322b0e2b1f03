"""`trustlens rules test` and `rules backtest`: what a rule would do, before it is trusted to."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli import api
from cli.answers import Backtested, RuleTried, Sample
from cli.api import Api
from cli.explanation import SHOWN_HASH, plain
from cli.ids import rule_id
from cli.jobs import watched
from cli.rule_files import drafted
from shared.jsontext import dumps

RuleOrFile = Annotated[
    str,
    typer.Argument(
        metavar="RULE|FILE", help="A rule's name, id, or the id's first 8 characters; or a draft: a JSON file, or -."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]

_SOURCES = {
    "stored": "what happened",
    "given": "an event that was given",
    "made_up": "a made-up event, for there is none: the customer as they are now",
}
_KEPT_FROM = {
    "conditions": "conditions not met",
    "cooldown": "cooling down",
    "hourly_limit": "over the hourly limit",
    "depth": "too deep in a chain of rules",
}


async def place(api: Api, given: str, draft: Mapping[str, Any]) -> str:
    """The path of a rule, or of drafts."""
    return "/rules" if draft else f"/rules/{await rule_id(api, given)}"


# On one event ---------------------------------------------------------------------------------------------------------


def on_customer(
    rule: RuleOrFile,
    customer: Annotated[str | None, typer.Argument(metavar="EMAIL", help="Or the customer's hash.")] = None,
    event: Annotated[str | None, typer.Option("--event", metavar="ID", help="On this event, not the newest.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a rule would do for a customer, and why. Nothing is done.

    It is tried on the customer's newest event of the rule's trigger, or else on one made up of how they are now.
    """
    if not (customer or event):
        raise typer.BadParameter("name a customer, or an event with --event")

    body = drafted(rule)
    named = {("email" if "@" in customer else "customer"): customer} if customer else {}

    async def asked(api: Api) -> Any:
        path = await place(api, rule, body)
        return await api.post(f"{path}/test", body | named | ({"event_id": event} if event else {}))

    answer = api.run(asked)
    if as_json:
        typer.echo(dumps(answer))
        return
    Console(markup=False, highlight=False).print(tried(RuleTried.model_validate(answer)))


def tried(told: RuleTried) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    order = f", order {told.event.order_id}" if told.event.order_id is not None else ""
    at = f" at {told.event.at}" if told.event.source == "stored" else ""
    grid.add_row("tried on", f"{told.trigger}{at}{order}: {_SOURCES.get(told.event.source, told.event.source)}")
    grid.add_row("cooldown", _cooldown(told))
    heading = "would fire" if told.outcome == "fired" else f"would not fire: {plain(told.reason)}"
    style = "bold green" if told.outcome == "fired" else "bold yellow"
    return Group(Text(heading, style=style), grid, *_conditions(told), *_actions(told))


def _cooldown(told: RuleTried) -> str:
    cooldown = told.cooldown
    wait = f"would wait: {cooldown.would_wait} left" if cooldown.would_wait else "none under way"
    last = f", fired last at {cooldown.last_fired_at}" if cooldown.last_fired_at else ""
    return f"{wait}{last}; {cooldown.fired_this_hour:,} of {cooldown.hourly_limit:,} firings this hour"


def _conditions(told: RuleTried) -> Iterable[RenderableType]:
    if not told.conditions:
        return
    grid = Table.grid(padding=(0, 2))
    for leaf in told.conditions:
        mark = Text("met", style="green") if leaf.met else Text("not met", style="red")
        inverted = " (under a not)" if "/not" in leaf.pointer else ""
        grid.add_row(
            "",
            mark,
            plain(f"{leaf.field} {leaf.operator} {_value(leaf.value)}{inverted}"),
            f"actual {_value(leaf.actual)}",
        )
    yield Text("conditions")
    yield grid


def _value(value: object) -> str:
    match value:
        case None:
            return "missing"
        case str():
            return plain(value) or '""'
        case list():
            return ", ".join(map(_value, value)) or "none"
        case _:
            return dumps(value)


def _actions(told: RuleTried) -> Iterable[RenderableType]:
    yield Text("would then" if told.outcome == "fired" else "had it fired, it would")
    for number, action in enumerate(told.actions, 1):
        yield Text(f"  {number}. {plain(action.would)}")


# On what happened -----------------------------------------------------------------------------------------------------


def backtest(
    rule: RuleOrFile,
    days: Annotated[int, typer.Option(min=1, max=90, help="How far back.")] = 30,
    *,
    as_json: AsJson = False,
) -> None:
    """Play a rule over what happened, with the customers as they were then, and say what it would have done.

    Cooldown and hourly limit count as they do live; nothing is done. Exit code 1: it failed or was cancelled.
    """
    body = drafted(rule)

    async def begun(api: Api) -> str:
        path = await place(api, rule, body)
        return str((await api.post(f"{path}/backtest", {**body, "days": days}))["job_id"])

    job = watched(api.run(begun), on_stderr=as_json)
    if as_json:
        typer.echo(dumps(job.result))
        return
    Console(markup=False, highlight=False).print(found(Backtested.model_validate(job.result)))


def found(result: Backtested) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_row("rule", f"{plain(result.rule.name)}, over {result.days} days: {result.from_} to {result.to}")
    grid.add_row("played", _counted(result.events, f"{result.rule.trigger} event"))
    grid.add_row(
        "would have fired", f"{_counted(result.firings, 'time')}, for {_counted(result.customers, 'customer')}"
    )
    if result.order_value:
        grid.add_row("orders worth", _money(result.order_value))
    if result.skipped:
        grid.add_row(
            "did not fire", " · ".join(f"{n:,} {_KEPT_FROM.get(kind, kind)}" for kind, n in result.skipped.items())
        )
    if result.live:
        grid.add_row("live", _agreement(result))
    return Group(grid, *_samples(result.samples))


def _agreement(result: Backtested) -> str:
    live = result.live
    if live is None:
        return ""
    if live.fired == live.both == result.firings:
        return f"fired for the same {_counted(live.fired, 'event')}"
    alone = f"{live.only_backtest:,} only in the backtest, {live.only_live:,} only live"
    return f"fired {_counted(live.fired, 'time')}: {live.both:,} the same, {alone}"


def _money(values: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{amount:,} {plain(currency)}" for currency, amount in values.items())


def _samples(samples: Iterable[Sample]) -> Iterable[RenderableType]:
    shown = list(samples)
    if not shown:
        return
    grid = Table.grid(padding=(0, 2))
    for sample in shown:
        order = f"order {sample.order_id}" if sample.order_id is not None else ""
        values = "  ".join(f"{name} {_value(value)}" for name, value in sample.values.items())
        grid.add_row("", sample.at, sample.customer[:SHOWN_HASH], order, plain(values))
    yield Text("the first times")
    yield grid


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
