"""When each key was used last: noted here with every request, written for all of them at once, now and then."""

import asyncio
from datetime import datetime
from uuid import UUID

import structlog

from api.stores import save_last_used
from shared.db import Pool, is_transient
from shared.service import every

log = structlog.get_logger()


class Usage:
    """`note` from any request; `run` as the one long task that writes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._used: dict[UUID, datetime] = {}

    def note(self, key_id: UUID, now: datetime) -> None:
        self._used[key_id] = now

    async def run(self, seconds: float, stop: asyncio.Event) -> None:
        """Write every so many seconds, and what is left at the end. A long task."""
        await every(seconds, self._save, stop)
        try:
            await self._save()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("usage.not_saved", keys=len(self._used), error=type(error).__name__)

    async def _save(self) -> None:
        used, self._used = self._used, {}
        try:
            if used:
                await save_last_used(self._pool, used)
        except Exception:
            self._used = used | self._used
            raise
