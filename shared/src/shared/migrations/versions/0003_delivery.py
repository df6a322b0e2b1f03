"""Delivery: breakers, burst dedup, endpoints' filters and rotation, parked deliveries, replay jobs."""

from shared.migrations.script import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_sql(__file__)
