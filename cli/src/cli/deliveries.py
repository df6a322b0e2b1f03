"""`trustlens deliveries` and `replay-deliveries`: what was sent, what came of it, and once more."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import api
from cli.answers import Delivery, DeliveryShown, FollowedAttempt, Replayed
from cli.api import Api, ApiError
from cli.explanation import plain
from cli.ids import run_on, whole
from cli.jobs import left_out, watched
from shared.jsontext import dumps

COLUMNS = 80
COLUMNS_WITH_ID = 120
"""From this width on a line has room for a whole id and the reason."""
POLL_SECONDS = 1.0
FIRST_SHOWN = 10
"""Attempts that a tail begins with."""
AT_ONCE = 1000
"""Attempts that one look of a tail takes at most: nobody reads more in a second."""
LATE = timedelta(seconds=5)
"""An attempt may be recorded this long after its end, while the database is busy."""
_AWAY = (0, 503)
"""Statuses of an API that will be back."""

app = typer.Typer(help="What was sent, and what came of it.", no_args_is_help=True)

DeliveryId = Annotated[
    str, typer.Argument(metavar="ID", help="X-TrustLens-Delivery, or its first 8 characters or more.")
]
WebhookId = Annotated[
    str | None,
    typer.Option("--webhook", metavar="ID", help="Of this endpoint only: its id, or 8 characters of it or more."),
]
EventName = Annotated[str | None, typer.Option(help="Of this event only.")]
Status = Annotated[
    str | None,
    typer.Option(help="pending, delivered, failed, retrying, exhausted, suppressed, parked or cancelled."),
]
Customer = Annotated[str | None, typer.Option(help="E-mail address, or its hash.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]


def moment(text: str) -> str:
    """A time as the API takes it; UTC where it names no offset.

    Raises:
        BadParameter: it is none.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("a time is written like 2026-06-05, 2026-06-05 14:23 or 2026-06-05T14:23Z") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


async def filters(
    api: Api, *, webhook: str | None, event: str | None, status: str | None, customer: str | None, **times: str | None
) -> dict[str, str]:
    """The query for what was given; an address becomes its hash, the beginning of an id the id."""
    webhook_id = await whole(api, "/webhooks", webhook) if webhook else None
    if customer and "@" in customer:
        customer = (await api.get("/customers/lookup", email=customer))["email_hash"]
    asked = {"webhook_id": webhook_id, "event": event, "status": status, "customer": customer, **times}
    return {name: str(value) for name, value in asked.items() if value is not None}


# Looking --------------------------------------------------------------------------------------------------------------


@app.command("list")
def list_all(
    *,
    webhook: WebhookId = None,
    event: EventName = None,
    status: Status = None,
    customer: Customer = None,
    after: Annotated[str | None, typer.Option(help="Recorded after this time, UTC.")] = None,
    before: Annotated[str | None, typer.Option(help="Recorded before this time, UTC.")] = None,
    limit: Limit = 20,
    json: AsJson = False,
) -> None:
    """Deliveries of this store, the newest first."""
    times = {"after": moment(after) if after else None, "before": moment(before) if before else None}

    async def work(api: Api) -> list[Any]:
        query = await filters(api, webhook=webhook, event=event, status=status, customer=customer, **times)
        return await api.collect("/deliveries", limit=limit, **query)

    found = api.run(work)
    print_list(found, json=json)
    if not json and not found:
        typer.echo("There is no such delivery.")


def print_list(found: Sequence[Any], *, json: bool) -> None:
    if json:
        typer.echo(dumps(found))
        return
    for delivery in found:
        typer.echo(line(Delivery.model_validate(delivery)))


def line(delivery: Delivery) -> str:
    """One delivery in at most 80 columns, with its whole id: it is what the other commands take."""
    return plain(f"{delivery.created_at[5:16]} {delivery.id} {delivery.event:20.20} {delivery.status:10.10}").rstrip()


@app.command()
def show(delivery_id: DeliveryId, *, json: AsJson = False) -> None:
    """Print a delivery with every attempt, and the body where the key may see it."""
    answer = run_on("/deliveries", delivery_id, lambda api, found: api.get(f"/deliveries/{found}"))
    if json:
        typer.echo(dumps(answer))
        return
    console = Console(markup=False, highlight=False)
    delivery = DeliveryShown.model_validate(answer)
    console.print(facts(delivery))
    if delivery.attempts:
        console.print(Text(), attempts_table(delivery), sep="\n")
    console.print(f"\n{plain(delivery.body)}" if delivery.body is not None else f"\n{_NO_BODY}", soft_wrap=True)


_NO_BODY = "The body is kept no longer, or this key lacks the scope pii."


def facts(delivery: DeliveryShown) -> Table:
    rows = {
        "delivery": str(delivery.id),
        "webhook": str(delivery.webhook_id or "") or None,
        "rule": str(delivery.rule_id or "") or None,
        "event": delivery.event,
        "customer": delivery.customer,
        "status": delivery.status,
        "why": delivery.reason or delivery.last_error,
        "attempts": f"{len(delivery.attempts)} of {delivery.max_attempts}",
        "recorded": delivery.created_at,
        "finished": delivery.finished_at,
        "next attempt": delivery.next_attempt_at,
        "next probe": delivery.next_probe_at,
    }
    grid = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        if value is not None:
            grid.add_row(name, Text(plain(value), overflow="fold"))
    return grid


def attempts_table(delivery: DeliveryShown) -> Table:
    grid = Table.grid(padding=(0, 2))
    for attempt in delivery.attempts:
        ended = " ".join(str(part) for part in (attempt.status_code, attempt.phase) if part)
        said = attempt.error or (attempt.body or "").strip()
        grid.add_row(
            f"{attempt.number}.",
            attempt.at,
            plain(ended),
            f"{attempt.duration_ms:,} ms",
            Text(plain(" ".join(filter(None, (attempt.address, said))))),
        )
    return grid


# Following ------------------------------------------------------------------------------------------------------------


@app.command()
def tail(
    *,
    webhook: WebhookId = None,
    event: EventName = None,
    status: Status = None,
    customer: Customer = None,
    json: Annotated[bool, typer.Option("--json", help="A JSON object for each attempt.")] = False,
) -> None:
    """Print attempts as they are made, until Ctrl-C."""
    width = Console().width if sys.stdout.isatty() else None

    def tell(attempt: Any) -> None:
        typer.echo(dumps(attempt) if json else attempt_line(FollowedAttempt.model_validate(attempt), width=width))

    async def work(api: Api) -> None:
        query = await filters(api, webhook=webhook, event=event, status=status, customer=customer)
        await follow(api, query, tell, complain=lambda why: typer.echo(why, err=True))

    try:
        api.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


class Tail:
    """What was shown already. No clock but the API's is asked: from its newest attempt on, with room for late ones."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], str] = {}
        self._after = ""

    @property
    def query(self) -> dict[str, str]:
        return {"after": self._after} if self._after else {}

    def new(self, found: Sequence[Any]) -> list[Any]:
        """Those of a look, newest first, that were not there before: the oldest first."""
        fresh = [one for one in found if (one["delivery_id"], one["number"]) not in self._seen]
        self._seen |= {(one["delivery_id"], one["number"]): one["ended_at"] for one in fresh}
        if self._seen:
            newest = datetime.fromisoformat(max(self._seen.values()))
            self._after = (newest - LATE).isoformat(sep=" ")
            self._seen = {name: ended for name, ended in self._seen.items() if ended >= self._after}
        return fresh[::-1]


async def follow(
    api: Api,
    query: Mapping[str, str],
    tell: Callable[[Any], None],
    *,
    complain: Callable[[str], None],
    poll: float = POLL_SECONDS,
) -> None:
    """Tell every attempt once, for ever. An API that is away for a while is waited for, and said to be away once."""
    tail, away = Tail(), False
    for attempt in tail.new(await api.collect("/deliveries/attempts", limit=FIRST_SHOWN, **query)):
        tell(attempt)
    while True:
        await asyncio.sleep(poll)
        try:
            found = await api.collect("/deliveries/attempts", limit=AT_ONCE, **query, **tail.query)
        except ApiError as error:
            if error.status not in _AWAY:
                raise
            if not away:
                complain(str(error))
            away = True
            continue
        away = False
        for attempt in tail.new(found):
            tell(attempt)
        if len(found) == AT_ONCE:
            complain(f"More than {AT_ONCE:,} attempts at once: older ones are left out. A filter helps.")


def attempt_line(attempt: FollowedAttempt, *, width: int | None = COLUMNS) -> str:
    """time, event, delivery, customer, answer, attempt n/m, ms, what follows, why. `width`: where it is cut.

    Where there is room the delivery's id is whole: it is what the other commands take. Where it failed says more than
    the status of an answer that broke off.
    """
    answer = str(attempt.phase or attempt.status_code or "")
    delivery = str(attempt.delivery_id)[: None if width is None or width >= COLUMNS_WITH_ID else 8]
    told = (
        f"{attempt.ended_at[11:]} {attempt.event:16.16} {delivery} {attempt.customer:12.12}"
        f" {answer:>7.7} {attempt.number}/{attempt.max_attempts} {attempt.duration_ms:>5} {consequence(attempt)}"
    )
    why = attempt.error if attempt.error != f"answered {attempt.status_code}" else None
    return plain(f"{told} {why or ''}")[:width].rstrip()


def consequence(attempt: FollowedAttempt) -> str:
    """What follows from the attempt: of the last one that is the delivery's state."""
    if attempt.number < attempt.attempts:
        return "again"
    if attempt.status == "retrying" and attempt.next_attempt_at:
        return f"next {attempt.next_attempt_at[11:]}"
    return attempt.status


# Once more ------------------------------------------------------------------------------------------------------------


@app.command()
def retry(delivery_id: DeliveryId) -> None:
    """Make a delivery once more, now, under its own id."""
    due = run_on("/deliveries", delivery_id, lambda api, found: api.post(f"/deliveries/{found}/retry"))
    typer.echo(f"It is due again; what comes of it: trustlens deliveries show {due['id']}")


def replay(
    *,
    from_: Annotated[str, typer.Option("--from", help="Events recorded from this time on, UTC.")],
    to: Annotated[str, typer.Option("--to", help="Until before this time, UTC.")],
    status: Annotated[
        str | None,
        typer.Option(help="Comma-separated: delivered, failed, exhausted, suppressed, cancelled. failed,exhausted."),
    ] = None,
    event: EventName = None,
    webhook: WebhookId = None,
    customer: Customer = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Deliveries per second.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
) -> None:
    """Make many deliveries once more, each under its own id, and wait until all are due.

    Exit code 1: the job failed or was cancelled.
    """
    times = {"from": moment(from_), "to": moment(to)}
    statuses = {"status": [name.strip() for name in status.split(",")]} if status else {}
    more = ({"rate": rate} if rate else {}) | ({"dry_run": True} if dry_run else {})

    async def work(api: Api) -> Any:
        query = await filters(api, webhook=webhook, event=event, status=None, customer=customer)
        return await api.post("/deliveries/replay", {**query, **times, **statuses, **more})

    asked = Replayed.model_validate(api.run(work))
    typer.echo(counted(asked))
    if asked.job_id:
        watched(str(asked.job_id))
        typer.echo("They are sent one after the other; `trustlens deliveries tail` shows them.")


def counted(asked: Replayed) -> str:
    number = "1 delivery" if asked.count == 1 else f"{asked.count:,} deliveries"
    told = f"{number} would be made once more." if asked.job_id is None else f"{number} to make once more."
    return f"{told} {left_out(asked.skipped)}".rstrip()
