"""What is left of somebody, anywhere in the database: text in any column of any table, bytes too."""

from collections.abc import Sequence

import asyncpg


async def remains(connection: asyncpg.Pool | asyncpg.Connection, *texts: str) -> Sequence[str]:
    """The tables of all services that hold one of these texts, in whatever case."""
    tables = await connection.fetch(
        "SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname IN ('api', 'scorer', 'rule_engine', 'dispatcher')"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"
    )
    # Postgres writes bytes as hexadecimal digits; no case is folded there, so both are looked for.
    sought = [form for text in texts for form in (text, text.encode().hex(), text.upper().encode().hex())]
    return [
        table["name"]
        for table in tables
        if await connection.fetchval(
            f"SELECT EXISTS (SELECT FROM {table['name']} AS t WHERE EXISTS (SELECT FROM unnest($1::text[]) AS s (text)"
            " WHERE position(lower(s.text) IN lower(t::text)) > 0))",
            sought,
        )
    ]
