"""`trustlens customers`: who they are to this store, and what is done about them by hand."""

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from cli import api
from cli.answers import Customer
from cli.api import Api, ApiError
from cli.explanation import counted, heading, plain, sum_table
from cli.webhooks import given
from shared.jsontext import dumps

MAX_LISTED = 100_000
_HASH = re.compile(r"[0-9a-fA-F]{64}")

app = typer.Typer(help="Customers: look, block, allowlist, tag, note, export, erase.", no_args_is_help=True)

Who = Annotated[str, typer.Argument(metavar="EMAIL", help="The customer's address, or its hash.")]
Reason = Annotated[str | None, typer.Option(help="Why; it is kept with the customer and told to webhooks.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]


def run_on(who: str, work: Callable[[Api, str], Awaitable[Any]]) -> Any:
    """What `work` returns, done with the customer's path."""

    async def found(api: Api) -> Any:
        return await work(api, f"/customers/{await hash_of(api, who)}")

    return api.run(found)


async def hash_of(api: Api, who: str) -> str:
    """
    Raises:
        ApiError: the store has no such customer. Of a hash nothing is asked.
    """
    if _HASH.fullmatch(who):
        return who.lower()
    return str((await looked_up(api, who))["email_hash"])


async def looked_up(api: Api, email: str) -> Any:
    try:
        return await api.get("/customers/lookup", email=email)
    except ApiError as error:
        if error.status == 404:
            raise ApiError(f"This store has no customer {plain(email)}.", status=404) from None
        raise


# Looking --------------------------------------------------------------------------------------------------------------


@app.command()
def show(who: Who, *, json: AsJson = False) -> None:
    """Show a customer: score, orders, refunds, tags, and what the score is made of."""
    answer = run_on(who, lambda api, path: api.get(path))
    if json:
        typer.echo(dumps(answer))
        return
    customer = Customer.model_validate(answer)
    console = Console(highlight=False)
    console.print(heading(who, customer), "\n".join(facts(customer)), "", sum_table(customer), sep="\n", markup=False)


def facts(customer: Customer) -> list[str]:
    """What the heading leaves out."""
    bought = f"{customer.total_order_value} spent, {customer.total_refund_value} refunded"
    first, last = customer.first_order_date, customer.last_order_date
    return [
        bought if first is None else f"{bought}; first order {first}, last {last}",
        *(
            [f"linked to {counted(customer.linked_accounts_count, 'account')}"]
            if customer.linked_accounts_count
            else []
        ),
        *([plain(f"tags: {', '.join(customer.tags)}")] if customer.tags else []),
    ]


@app.command("list")
def list_all(
    *,
    segment: Annotated[str | None, typer.Option(help="vip, trusted, normal, caution, risk or critical.")] = None,
    blocked: Annotated[bool | None, typer.Option("--blocked/--not-blocked")] = None,
    allowlisted: Annotated[bool | None, typer.Option("--allowlisted/--not-allowlisted")] = None,
    tag: Annotated[str | None, typer.Option(help="Who has this tag.")] = None,
    min_score: Annotated[int | None, typer.Option(min=0, max=100)] = None,
    max_score: Annotated[int | None, typer.Option(min=0, max=100)] = None,
    orderby: Annotated[
        str | None, typer.Option(help="trust_score, total_orders, return_rate or created_at, which is the default.")
    ] = None,
    order: Annotated[str | None, typer.Option(help="asc or desc, which is the default.")] = None,
    emails: Annotated[
        bool, typer.Option("--emails", help="With addresses: takes the scope pii, and is audited.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LISTED, help="How many at most.")] = 20,
    json: AsJson = False,
) -> None:
    """The customers of this store, the newest first, or as they are sorted."""
    query = given(
        segment=segment,
        blocked=_written(blocked),
        allowlisted=_written(allowlisted),
        tag=tag,
        min_score=_written(min_score),
        max_score=_written(max_score),
        orderby=orderby,
        order=order,
        include="email" if emails else None,
    )
    found = api.run(lambda api: api.collect("/customers", limit=limit, **query))
    if json:
        typer.echo(dumps(found))
        return
    typer.echo("\n".join(listed([Customer.model_validate(one) for one in found])))


def _written(value: int | None) -> str | None:
    """As a query has it; a truth value is an int, too."""
    return None if value is None else str(value).lower()


def listed(customers: Sequence[Customer]) -> list[str]:
    return [line(customer) for customer in customers] or ["There is no such customer."]


def line(customer: Customer) -> str:
    flags = {"blocked": customer.is_blocked, "allowlisted": customer.is_allowlisted}
    known = [
        f"{customer.trust_score:>3} {customer.segment_label:<8}",
        f"{counted(customer.total_orders, 'order'):>12}",
        f"{customer.return_rate:>5} % returned",
        customer.email or customer.email_hash,
        *(flag for flag, holds in flags.items() if holds),
    ]
    return plain("  ".join(known))


@app.command()
def export(
    who: Who,
    *,
    output: Annotated[Path | None, typer.Option(help="Write it to this file, which must not exist.")] = None,
) -> None:
    """All that is known of a customer, as JSON. Takes the scope pii, and is audited."""
    text = dumps(run_on(who, lambda api, path: api.get(f"{path}/export")))
    if output is None:
        typer.echo(text)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise ApiError(f"{plain(str(output))} cannot be written: {error.strerror}.") from None
    typer.echo(f"Written to {plain(str(output))}.")


# Doing ----------------------------------------------------------------------------------------------------------------


@app.command()
def block(who: Who, *, reason: Reason = None, json: AsJson = False) -> None:
    """Keep a customer from checking out."""
    _change(who, {"is_blocked": True, "reason": reason}, json=json)


@app.command()
def unblock(who: Who, *, reason: Reason = None, json: AsJson = False) -> None:
    """Lift a block."""
    _change(who, {"is_blocked": False, "reason": reason}, json=json)


@app.command()
def allowlist(who: Who, *, reason: Reason = None, json: AsJson = False) -> None:
    """Trust a customer whatever happens: 100 and VIP, until it is taken back."""
    _change(who, {"is_allowlisted": True, "reason": reason}, json=json)


@app.command()
def unallowlist(who: Who, *, reason: Reason = None, json: AsJson = False) -> None:
    """Take the allowlisting back: what happened counts again."""
    _change(who, {"is_allowlisted": False, "reason": reason}, json=json)


def _change(who: str, patch: dict[str, Any], *, json: bool) -> None:
    answer = run_on(who, lambda api, path: api.patch(path, given(**patch)))
    _print_changed(who, answer, json=json)


@app.command()
def tag(who: Who, tag: Annotated[str, typer.Argument(metavar="TAG")], *, json: AsJson = False) -> None:
    """Give a customer a tag; one that is there already stays."""
    answer = run_on(who, lambda api, path: api.post(f"{path}/tags", {"tag": tag}))
    _print_changed(who, answer, json=json)


@app.command()
def untag(who: Who, tag: Annotated[str, typer.Argument(metavar="TAG")], *, json: AsJson = False) -> None:
    """Take a tag off; one that is not there is no mistake."""
    answer = run_on(who, lambda api, path: api.delete(f"{path}/tags/{quote(tag, safe='')}"))
    _print_changed(who, answer, json=json)


@app.command()
def note(who: Who, text: Annotated[str, typer.Argument(metavar="TEXT")], *, json: AsJson = False) -> None:
    """Add a note to a customer's timeline."""
    answer = run_on(who, lambda api, path: api.post(f"{path}/notes", {"text": text}))
    _print_changed(who, answer, json=json)


def _print_changed(who: str, answer: Any, *, json: bool) -> None:
    """The customer as it is now."""
    if json:
        typer.echo(dumps(answer))
        return
    customer = Customer.model_validate(answer)
    Console(highlight=False).print(heading(who, customer), "\n".join(facts(customer)), sep="\n", markup=False)


@app.command()
def erase(
    who: Who,
    *,
    reason: Annotated[str | None, typer.Option(help="Why; it stays on the timeline, so without the address.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase all that is personal of a customer, everywhere, for ever; the numbers stay. Takes the scope admin."""
    path = run_on(who, _found)
    if not yes:
        typer.confirm(plain(f"Erase {who}? This cannot be undone."), abort=True)
    api.run(lambda api: api.delete(path, **given(reason=reason)))
    typer.echo(plain(f"{who} is erased."))


async def _found(_: Api, path: str) -> str:
    return path
