"""When each of many was seen last: noted here each time, written for all of them at once, now and then."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from uuid import UUID

import structlog

from shared.db import Pool, is_transient
from shared.service import every

log = structlog.get_logger()

Save = Callable[[Pool, Mapping[UUID, datetime]], Awaitable[None]]


class Usage:
    """`note` from any request; `run` as the one long task that writes."""

    def __init__(self, pool: Pool, save: Save) -> None:
        self._pool = pool
        self._save_all = save
        self._used: dict[UUID, datetime] = {}

    def note(self, seen: UUID, now: datetime) -> None:
        self._used[seen] = now

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
                await self._save_all(self._pool, used)
        except Exception:
            self._used = used | self._used
            raise
