"""Scoring: the facts of all eight modules, links, timeline, history, settings, jobs."""

from shared.migrations.script import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql(__file__)
