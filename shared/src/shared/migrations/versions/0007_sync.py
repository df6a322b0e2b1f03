"""Work that the api does beside answering requests: reading a store's past, and what its webhooks missed."""

from shared.migrations.script import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_sql(__file__)
