"""Catch-up: now and then every store is asked what changed, and what its webhooks missed is found.

One at a time over all replicas, by a lease on the store's row: an advisory lock would hold a connection for as long as
the store takes to answer.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import structlog

from api.metrics import GAPS, POLLS
from api.stores import StoreSecrets
from api.sync import history, store
from api.sync.history import KINDS, TRASH, Kind
from api.sync.past import in_gmt
from api.sync.reader import Page, Reader, Settled
from api.sync.settings import SyncSettings
from api.sync.store import Claimed
from api.sync.walk import Cursor
from api.sync.wc import Shop, StoreError
from api.sync.webhooks import Webhooks
from shared.db import Connection, Pool, is_transient
from shared.ids import uuid7
from shared.outbox import Outbox
from shared.pause import pause

log = structlog.get_logger()

T = TypeVar("T")

LISTS: tuple[tuple[Kind, Mapping[str, str]], ...] = (*((kind, {}) for kind in KINDS), ("orders", {"status": TRASH}))
"""What is read: also what was deleted, as long as it lies in the trash."""
FIRST = timedelta(hours=24)
"""How far back a store is asked the first time; what was before is a sync's."""
TRIES = 3
"""How often a page is asked for: the next poll comes soon."""
LEASE = timedelta(minutes=4)
"""After the last page, until another replica takes the store up."""
PATIENCE = 180.0
"""Seconds that a store may keep us waiting for one page, all tries together: within the lease."""
LOOKS = 10
"""How often it is looked within the time between two polls of a store whether one is due."""
LONGEST_LOOK = 5.0
CLOCK_DOUBT = timedelta(days=1)
"""A store's clock that is further off is none: something in between answers with an old date."""
FILTER_DOUBT = timedelta(days=1)
"""Rows so much older than what was asked for show that the store does not know the filter."""


class _NotOursError(Exception):
    """Another replica polls this store by now."""


class CatchUp:
    """Polls the stores whose turn it is, side by side."""

    def __init__(self, pool: Pool, outbox: Outbox, reader: Reader, webhooks: Webhooks, settings: SyncSettings) -> None:
        self._pool = pool
        self._outbox = outbox
        self._reader = reader
        self._webhooks = webhooks
        self._settings = settings
        self._every = timedelta(seconds=settings.catch_up_seconds)
        self._overlap = timedelta(seconds=settings.overlap_seconds)
        self._grace = timedelta(seconds=settings.gap_seconds)

    async def run(self, stop: asyncio.Event) -> None:
        """A long task. A store that hangs, hangs alone."""
        polls: dict[asyncio.Task[None], Claimed] = {}
        look = min(self._settings.catch_up_seconds / LOOKS, LONGEST_LOOK)
        try:
            while not await pause(look, stop):
                polls = {poll: claimed for poll, claimed in polls.items() if not _ended(poll)}
                for claimed in await self._due(self._settings.stores_at_once - len(polls)):
                    polls[asyncio.create_task(self.poll(claimed), name="poll")] = claimed
        finally:
            for poll in polls:
                poll.cancel()
            await asyncio.gather(*polls, return_exceptions=True)
            await self._release(list(polls.values()))

    async def _release(self, left: Sequence[Claimed]) -> None:
        """So that they are taken up at once by whoever comes next."""
        try:
            await store.release(self._pool, [claimed.lease for claimed in left])
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("poll.waiting", error=type(error).__name__)

    async def _due(self, most: int) -> list[Claimed]:
        if most <= 0:
            return []
        try:
            return await store.claim_due(self._pool, uuid7(), every=self._every, held=LEASE, most=most)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("poll.waiting", error=type(error).__name__)
            return []

    async def poll(self, claimed: Claimed) -> None:
        """One store, whatever becomes of it told on its row."""
        try:
            error, watermark = await self._polled(claimed)
            await store.finish_poll(self._pool, claimed, datetime.now(UTC), watermark=watermark, error=error)
        except _NotOursError:
            return
        except Exception as failure:
            if not is_transient(failure):
                raise
            log.warning("poll.waiting", error=type(failure).__name__)
            return
        POLLS.labels("failed" if error else "done").inc()
        if error:
            log.warning("poll.failed", store=str(claimed.store_id), why=error)

    async def _polled(self, claimed: Claimed) -> tuple[str | None, datetime | None]:
        """What is wrong, and the new watermark (None: not all was read, so it stays)."""
        try:
            return await self._read_and_mended(claimed)
        except StoreError as error:
            return str(error), None
        except Exception as error:
            if is_transient(error) or isinstance(error, _NotOursError):
                raise
            # What we cannot take of one store's is no reason to leave the others.
            log.error("poll.crashed", store=str(claimed.store_id), error=type(error).__name__)
            return f"A mistake of ours ({type(error).__name__}): please report it.", None

    async def _read_and_mended(self, claimed: Claimed) -> tuple[str | None, datetime]:
        shop, secrets = await self._reader.find(claimed.store_id)
        watermark = await self._read(shop, secrets, claimed)
        if not await store.hold(self._pool, claimed, LEASE):
            raise _NotOursError
        try:
            mended = await _within(PATIENCE, self._webhooks.mend(shop, secrets, claimed.delivery_url))
            return mended, watermark
        except StoreError as error:
            return f"Orders were read, but not which webhooks there are: {error}", watermark

    async def _read(self, shop: Shop, secrets: StoreSecrets, claimed: Claimed) -> datetime:
        """Everything that changed since the watermark, and the next one: when this began, by the slower clock."""
        began = datetime.now(UTC)
        since = (claimed.watermark - self._overlap) if claimed.watermark else began - FIRST
        clocks = [began]
        for kind, which in LISTS:
            cursor: Cursor | None = Cursor()
            while cursor:
                params = {"modified_after": in_gmt(since), **which}
                asked = self._reader.page(shop, secrets, kind, cursor, params, tries=TRIES)
                page = await _within(PATIENCE, asked)
                _require_filtered(page, since)
                await self._store(page, secrets, claimed)
                clocks += [page.at - (datetime.now(UTC) - began)] if page.at else []
                cursor = page.turn.cursor
        return max(min(clocks), began - CLOCK_DOUBT)

    async def _store(self, page: Page, secrets: StoreSecrets, claimed: Claimed) -> None:
        now = datetime.now(UTC)
        settle = await self._reader.settle(page, secrets, now, partial(history.lane, now=now))
        async with self._outbox.transaction() as transaction:
            if not await store.hold(transaction.connection, claimed, LEASE):
                raise _NotOursError
            settled = await settle(transaction)
            clock = _clock(page, now)
            gaps = await self._gaps(transaction.connection, settled, secrets, now, clock) if claimed.watermark else 0
            if gaps:
                await store.add_gaps(transaction.connection, claimed, gaps, now)
        if gaps:
            GAPS.inc(gaps)
            log.warning("poll.gaps", store=str(claimed.store_id), items=gaps)

    async def _gaps(
        self, connection: Connection, settled: Settled, secrets: StoreSecrets, now: datetime, clock: datetime
    ) -> int:
        """Orders that came this way alone, though a webhook had the time to tell them by the store's `clock`."""
        rows = [row for row, _ in settled.rows if row.id in settled.new]
        late = history.late(rows, settled.known, clock, self._grace)
        if not late:
            return 0
        changed = min(order.modified_at for order in late.values()) - max(clock - now, timedelta())
        hashes = history.owners(rows, secrets.hash_key)
        webhooks = await store.told_orders(connection, secrets.store_id, hashes, since=changed - self._grace)
        return len(history.untold(late, webhooks, secrets.hash_key))


async def _within(seconds: float, asked: Coroutine[Any, Any, T]) -> T:
    """
    Raises:
        StoreError: it took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            return await asked
    except TimeoutError:
        raise StoreError(f"The store kept us waiting for more than {seconds:g} s.") from None


def _clock(page: Page, now: datetime) -> datetime:
    """The store's own, by which it writes the times of its rows; ours where it does not tell."""
    return page.at if page.at and abs(page.at - now) <= CLOCK_DOUBT else now


def _ended(poll: "asyncio.Task[None]") -> bool:
    """Raises what a mistake of ours ended it with."""
    if poll.done():
        poll.result()
    return poll.done()


def _require_filtered(page: Page, since: datetime) -> None:
    """
    Raises:
        StoreError: the store answers with what did not change.
    """
    if any(row.modified_at and row.modified_at < since - FILTER_DOUBT for row in page.rows):
        raise StoreError("The store does not know `modified_after`: catching up takes WooCommerce 5.8 or later.")
