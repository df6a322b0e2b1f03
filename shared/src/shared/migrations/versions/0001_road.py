"""The road: everything the four services need to carry an order to a verified webhook."""

from shared.migrations.script import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql(__file__)
