"""Traces outlive the dispatcher's memory."""

from shared.migrations.script import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_sql(__file__)
