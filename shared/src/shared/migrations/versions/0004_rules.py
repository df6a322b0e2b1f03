"""Rules: versions, the hourly fuse, compact evaluations, starters, backtest jobs, targets without a secret."""

from shared.migrations.script import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql(__file__)
