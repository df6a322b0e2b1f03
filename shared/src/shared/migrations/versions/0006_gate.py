"""The gate in front of the checkout, and what stores send beside their orders."""

from shared.migrations.script import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql(__file__)
