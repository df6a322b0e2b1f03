"""`trustlens resend`: accepted inputs that nothing became of, once more."""

import typer

from api import resend
from cli import database, stack_env
from shared.secrets import Vault


def command() -> None:
    """Send accepted inputs without an outcome to the scorer again, made of what is kept of them: after a restore.

    What waits in a queue is sent a second time, to no effect: run it when the queues are empty.
    """
    env = stack_env.read()
    vault = Vault(stack_env.need(env, "TRUSTLENS_SECRET_KEYS"))
    done = database.run_pooled(lambda pool: resend.resend(pool, vault), env)
    typer.echo(f"{done.sent:,} sent again; the api publishes them: trustlens books")
    if done.left:
        typer.echo(f"{done.left:,} cannot be made again: erased meanwhile, or attempts and declines at the checkout")
