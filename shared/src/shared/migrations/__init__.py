"""The database's history: alembic revisions in raw SQL, applied under an advisory lock."""

HEAD = "0008"
"""The revision that this code needs. Ids are four digits and rise."""
