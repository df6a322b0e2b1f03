"""Every command of `trustlens`, in one list."""

import sys

import typer

from cli import (
    books,
    chargebacks,
    connect,
    customers,
    dead,
    deliveries,
    demo,
    explain,
    gate,
    jobs,
    keys,
    listen,
    logs,
    migrate,
    personas_run,
    replay,
    resend,
    rules,
    scoring,
    secrets,
    shop_file,
    stack,
    stores,
    sync,
    webhooks,
)
from local_stack.errors import StackError

app = typer.Typer(
    help="TrustLens: trust scores for a shop's customers, as signed webhooks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they are keys and secrets
)

app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("status")(stack.status)
app.command("logs")(logs.logs)
app.command("migrate")(migrate.migrate)
app.command("demo")(demo.command)
app.command("replay")(replay.command)
app.command("shop")(shop_file.command)
app.command("connect")(connect.command)
app.command("sync")(sync.command)
app.command("listen")(listen.listen)
app.command("books")(books.command)
app.command("resend")(resend.command)
app.command("explain")(explain.command)
app.command("chargebacks")(chargebacks.command)
app.command("personas")(personas_run.command)
app.command("replay-deliveries")(deliveries.replay)
app.command("recompute")(jobs.recompute)
app.command("sweep")(jobs.sweep)
app.add_typer(customers.app, name="customers")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(rules.app, name="rules")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(dead.app, name="dead")
app.add_typer(scoring.app, name="scoring")
app.add_typer(jobs.app, name="jobs")
app.add_typer(stores.app, name="stores")
app.add_typer(keys.app, name="keys")
app.add_typer(gate.app, name="gate")
app.add_typer(secrets.app, name="secrets")


def main() -> None:
    try:
        app()
    except StackError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
