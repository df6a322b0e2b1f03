"""What came of reading a store, and of making its webhooks, as the commands show it."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from cli.answers import Connected, Job, StoreWebhook, Synced
from cli.explanation import counted, plain

STATUSES = {"made": "made", "kept": "was there", "enabled": "was off, on again"}


def show(job: Job) -> None:
    """Nothing of a job of another kind, or without a result."""
    if job.result and job.kind == "sync" and (job.done or job.state == "done"):  # given up at once, it has no books
        print_books(Synced.model_validate(job.result))
    if job.result and job.kind == "connect":
        print_webhooks(Connected.model_validate(job.result).webhooks)


def print_books(synced: Synced) -> None:
    console = Console(highlight=False)
    table = Table.grid(padding=(0, 2))
    table.add_row("", "seen", "new", "changed", "unchanged", "skipped")
    for name, books in (("orders", synced.orders), ("products", synced.products), ("coupons", synced.coupons)):
        counts = (books.seen, books.new, books.changed, books.unchanged, sum(one.count for one in books.skipped))
        table.add_row(name, *(f"{count:,}" for count in counts))
    console.print(table)
    for one in (*synced.orders.skipped, *synced.products.skipped, *synced.coupons.skipped):
        ids = ", ".join(map(str, one.ids)) + (", …" if one.count > len(one.ids) else "")
        console.print(f"skipped {one.count:,}: {plain(one.reason)} (ids {ids})", markup=False, soft_wrap=True)
    again = f", {synced.repeated:,} of them again" if synced.repeated else ""
    console.print(f"{counted(synced.requests, 'request')} to the store{again}. New scores are made in the background.")


def print_webhooks(webhooks: Sequence[StoreWebhook]) -> None:
    table = Table.grid(padding=(0, 2))
    for webhook in webhooks:
        table.add_row(webhook.topic, str(webhook.id), STATUSES.get(webhook.status, webhook.status))
    if webhooks:
        Console(highlight=False, markup=False).print(table)
