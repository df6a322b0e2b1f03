"""Stores what came of attempts: those that wait together, in one commit. A result is never lost while we live."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import structlog

from dispatcher import store
from dispatcher.store import Record
from shared.db import Connection, Pool, is_transient

log = structlog.get_logger()

AT_ONCE = 500
"""Most results in one commit."""
GONE_REASON = "the endpoint answered 410 Gone"

Waiting = tuple[Record, "asyncio.Future[bool]"]


class Recorder:
    """`run()` as a long task that outlives the attempts."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: asyncio.Queue[Waiting] = asyncio.Queue()

    async def record(self, record: Record) -> bool:
        """Once it is stored; False: its lease was lost, so that another's result counts."""
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((record, stored))
        return await asyncio.shield(stored)

    async def drained(self) -> None:
        """Once nothing waits."""
        await self._waiting.join()

    async def run(self) -> None:
        while True:
            group = [await self._waiting.get()]
            while len(group) < AT_ONCE and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            try:
                await self._settle(group)
            finally:
                for _ in group:
                    self._waiting.task_done()

    async def _settle(self, group: Sequence[Waiting]) -> None:
        """Store a group; where the data is to blame, by halves, until the bad one is alone."""
        try:
            held = await self._patiently([record for record, _ in group])
        except Exception as error:  # noqa: BLE001  # is_transient said that it is this data's
            if len(group) == 1:
                record, stored = group[0]
                log.error("delivery.not_recorded", delivery=str(record.delivery.id), error=type(error).__name__)
                stored.set_result(False)
                return
            middle = len(group) // 2
            await self._settle(group[:middle])
            await self._settle(group[middle:])
            return
        for record, stored in group:
            stored.set_result((record.delivery.id, record.lease) in held)

    async def _patiently(self, records: Sequence[Record]) -> set[tuple[UUID, UUID]]:
        wait = 0.1
        while True:
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    return await _store(connection, records)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("recorder.waiting", results=len(records), error=type(error).__name__, retry_in=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)


async def _store(connection: Connection, records: Sequence[Record]) -> set[tuple[UUID, UUID]]:
    held = await store.record(connection, records)
    ended = {
        r.delivery.endpoint_id
        for r in records
        if r.step.disables and r.delivery.endpoint_id and (r.delivery.id, r.lease) in held
    }
    if ended and (stores := await store.disable_retried(connection, ended, GONE_REASON)):
        await store.bump_revision(connection, stores)
    return held
