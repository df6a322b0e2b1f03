"""The pool, as services have it."""

import pytest

from shared import db


async def test_who_stands_still_in_a_transaction_loses_it_with_its_locks_and_may_begin_again(database_url: str) -> None:
    frozen = await db.connect(database_url, size=1, application="tests", idle_seconds=0.2)
    other = await db.connect(database_url, size=1, application="tests")
    await other.execute("CREATE TABLE shared_rows (id integer PRIMARY KEY, by text)")
    await other.execute("INSERT INTO shared_rows VALUES (1, 'nobody')")

    async with frozen.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE shared_rows SET by = 'the frozen one'")
        await other.execute(
            "UPDATE shared_rows SET by = 'the other'"
        )  # waits for as long as the frozen one has the row
        with pytest.raises(Exception) as failed:  # several are right, as long as they are transient
            await connection.execute("SELECT 1")
        assert db.is_transient(failed.value)

    assert await frozen.fetchval("SELECT by FROM shared_rows") == "the other"
    for pool in (frozen, other):
        pool.terminate()
