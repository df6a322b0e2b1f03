"""A page of a store's: asked for before a transaction, settled in one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from api.ingest.intake import count, take
from api.stores import RestAccess, StoreSecrets, find_rest_access, find_secrets, open_access, save_settings
from api.sync import history, store
from api.sync.history import Became, Kind, Lane, Seen
from api.sync.store import Known
from api.sync.walk import PATIENCE, PER_PAGE, Cursor, Turn, turn
from api.sync.wc import Shop, StoreError, Stores
from shared.db import Connection, Partitions, Pool
from shared.outbox import Transaction
from shared.secrets import Vault


@dataclass(frozen=True, slots=True)
class Page:
    """What a store answered, read."""

    kind: Kind
    rows: Sequence[Seen]
    """Not read before."""
    turn: Turn
    requests: int
    at: datetime | None
    """The store's clock."""


@dataclass(frozen=True, slots=True)
class Settled:
    rows: Sequence[tuple[Seen, Became]]
    new: frozenset[int]
    """Ids of what the scorer will be told."""
    known: Mapping[int | str, Known]


class Reader:
    """Reads stores' lists."""

    def __init__(self, stores: Stores, pool: Pool, vault: Vault, partitions: Partitions) -> None:
        self._stores = stores
        self._pool = pool
        self._vault = vault
        self._partitions = partitions

    async def find(self, store_id: UUID, sealed: str | None = None) -> tuple[Shop, StoreSecrets]:
        """By the saved key, or by a `sealed` one that is yet to be tried.

        Raises:
            StoreError: there is no key to its REST API any more.
        """
        access: RestAccess | None = (
            open_access(self._vault, sealed) if sealed else await find_rest_access(self._pool, self._vault, store_id)
        )
        secrets = await find_secrets(self._pool, self._vault, store_id)
        if access is None or secrets is None:
            raise StoreError("No key of the store's REST API is saved any more.")
        return Shop(store_id, access), secrets

    async def keep_access(self, job_id: UUID, shop: Shop) -> None:
        """Save the key that a job tried, in the place of another, and the address with it."""
        means = {"key": shop.access.key, "secret": shop.access.secret}
        async with self._pool.acquire() as connection, connection.transaction():
            await save_settings(connection, self._vault, shop.id, {"url": shop.access.url, "woocommerce": means})
            await store.forget_access(connection, job_id)

    async def forget_access(self, job_id: UUID) -> None:
        await store.forget_access(self._pool, job_id)

    async def total(self, shop: Shop, kind: Kind, params: Mapping[str, str], *, tries: int) -> tuple[int | None, int]:
        """How many rows there are (None: the store does not say), and how many requests it took to know."""
        asked = {"per_page": "1", "_fields": "id", "dates_are_gmt": "true", **params}
        answered = await self._stores.ask(shop, "GET", f"/{kind}", params=asked, tries=tries)
        return answered.told.total, answered.requests

    async def page(
        self, shop: Shop, secrets: StoreSecrets, kind: Kind, cursor: Cursor, params: Mapping[str, str], *, tries: int
    ) -> Page:
        """
        Raises:
            StoreError: the store does not give it.
        """
        asked = {**_ASKED, "_fields": history.FIELDS[kind], "offset": str(cursor.offset), **params}
        answered = await self._stores.ask(shop, "GET", f"/{kind}", params=asked, tries=tries)
        rows = _rising(answered.rows)
        done = turn(cursor, list(rows), answered.told.total)
        if done.cursor and done.cursor.idle > PATIENCE:
            raise StoreError(
                "The store's pages contradict each other, as if something in between kept old ones: a cache in front of"
                " its REST API?"
            )
        fresh = [history.read(kind, rows[row], secrets.hash_key) for row in sorted(done.fresh)]
        return Page(kind, fresh, done, answered.requests, answered.told.at)

    async def settle(
        self, page: Page, secrets: StoreSecrets, now: datetime, lane_of: Callable[[Seen], Lane]
    ) -> Callable[[Transaction], Awaitable[Settled]]:
        """How what the scorer does not have is stored, in a transaction that begins after this."""
        await self._partitions.cover(self._pool, [now])

        async def settled(transaction: Transaction) -> Settled:
            known = await _known(transaction.connection, secrets.store_id, page)
            lanes = {row.id: lane_of(row) for row in page.rows}
            became = {row.id: history.became(row, known.get(row.key), lanes[row.id]) for row in page.rows}
            inputs = {
                row.id: history.input_of(page.kind, row, secrets, lanes[row.id], now)
                for row in page.rows
                if became[row.id] in {"new", "changed"}
            }
            taken = await take(transaction, list(inputs.values()), now)
            count(list(inputs.values()), taken)
            new = frozenset(row for row, given in inputs.items() if given.id in taken)
            # What was taken before, and the scorer has not done yet, is no news either.
            rows = [(row, "unchanged" if row.id in inputs.keys() - new else became[row.id]) for row in page.rows]
            return Settled(rows, new, known)

        return settled


_ASKED: Mapping[str, str] = {
    "per_page": str(PER_PAGE),
    "orderby": "id",
    "order": "asc",
    "dates_are_gmt": "true",
}


def _rising(rows: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """By id. What comes twice on one page is one.

    Raises:
        StoreError: they are not in the order that was asked for: one could not say where to go on.
    """
    found = {row["id"]: row for row in rows}
    if list(found) != sorted(found):
        raise StoreError("The store does not sort its lists by id, as we ask: does a plugin change its REST API?")
    return found


async def _known(connection: Connection, store_id: UUID, page: Page) -> dict[int | str, Known]:
    keys = [row.key for row in page.rows if row.data]
    ids, codes = [key for key in keys if isinstance(key, int)], [key for key in keys if isinstance(key, str)]
    match page.kind:
        case "orders":
            return await store.known_orders(connection, store_id, ids)
        case "products":
            return await store.known_products(connection, store_id, ids)
        case "coupons":
            return await store.known_coupons(connection, store_id, codes)
