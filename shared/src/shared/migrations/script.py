"""How a revision runs its SQL: the file of the same name beside it, through the driver, many statements at once."""

from pathlib import Path

from alembic import op


def run_sql(revision_file: str) -> None:
    """Execute `<revision>.sql` beside the given revision module."""
    sql = Path(revision_file).with_suffix(".sql").read_text()
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(sql))  # type: ignore[union-attr]  # an asyncpg adapter
