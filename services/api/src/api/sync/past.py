"""The job `sync`: a store's products, coupons and orders, page by page, with books.

Where it stands, books included, is its position, which commits with each page: whoever goes on with it counts nothing
twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter

from api.stores import StoreSecrets
from api.sync import history
from api.sync.history import KINDS, Books, Kind, Lane, Seen
from api.sync.reader import Page, Reader
from api.sync.walk import Cursor
from api.sync.wc import Shop, StoreError
from shared import jobs
from shared.jobs import Found, GivenUpError, Job
from shared.outbox import Transaction


@dataclass(frozen=True, slots=True)
class Position:
    """How far a sync is."""

    reading: Literal["totals", "products", "coupons", "orders", "over"] = "totals"
    cursor: Cursor = field(default_factory=Cursor)
    books: Mapping[Kind, Books] = field(default_factory=lambda: dict.fromkeys(KINDS, Books()))
    requests: int = 0
    repeated: int = 0
    """Requests that were made again."""

    @classmethod
    def of(cls, job: Job) -> "Position":
        return _POSITION.validate_json(job.position) if job.position else cls()

    def __str__(self) -> str:
        return _POSITION.dump_json(self).decode()

    def result(self) -> dict[str, Any]:
        """What was read, as /jobs tells it."""
        books: dict[str, Any] = {kind: self.books[kind].result() for kind in reversed(KINDS)}
        return {**books, "requests": self.requests, "repeated": self.repeated}

    def asked(self, requests: int, *, needed: int = 1, again: bool = False) -> "Position":
        """With so many requests made, of which as many as `needed` were the first of their kind."""
        repeated = self.repeated + requests - (0 if again else needed)
        return replace(self, requests=self.requests + requests, repeated=repeated)


_POSITION: TypeAdapter[Position] = TypeAdapter(Position)


class Past:
    """Reads stores' pasts."""

    def __init__(self, reader: Reader, *, tries: int) -> None:
        self._reader = reader
        self._tries = tries

    async def prepare(self, job: Job) -> jobs.Page:
        """
        Raises:
            GivenUpError: the store gives no more. The same again goes on here.
        """
        position = Position.of(job)
        try:
            shop, secrets = await self._reader.find(job.store_id)
            _require_same(shop, job)
            if position.reading in KINDS:
                return await self._page(shop, secrets, job, position, position.reading)
            return await self._totals(shop, job, position)
        except StoreError as error:
            raise GivenUpError(str(error), position.result()) from None

    async def _totals(self, shop: Shop, job: Job, position: Position) -> jobs.Page:
        """How much there is, so that one sees how much is left."""
        totals = []
        for kind in KINDS:
            total, requests = await self._reader.total(shop, kind, _span(kind, job), tries=self._tries)
            totals.append(total)
            position = position.asked(requests)
        counted = None if None in totals else sum(total or 0 for total in totals)
        after = replace(job, position=str(replace(position, reading=KINDS[0])), total=counted)

        async def counted_page(_: Transaction, __: Job) -> Job:
            return after

        return counted_page

    async def _page(self, shop: Shop, secrets: StoreSecrets, job: Job, position: Position, kind: Kind) -> jobs.Page:
        page = await self._reader.page(shop, secrets, kind, position.cursor, _span(kind, job), tries=self._tries)
        settle = await self._reader.settle(page, secrets, datetime.now(UTC), _quiet)

        async def settled_page(transaction: Transaction, job: Job) -> Job | Found:
            settled = await settle(transaction)
            books = {**position.books, kind: history.entered(position.books[kind], settled.rows)}
            after = _after(replace(position, books=books), page)
            if after.reading == "over":
                return Found(after.result())
            return job.further(seen=len(page.rows), position=str(after))

        return settled_page


def _require_same(shop: Shop, job: Job) -> None:
    """
    Raises:
        StoreError: the place where it stands is one in another shop's lists.
    """
    if shop.access.url != job.params["url"]:
        raise StoreError("The store has another URL by now: sync it anew.")


def _quiet(_: Seen) -> Lane:
    """History is scored and told to nobody. Orders of the last day are told by the next poll."""
    return "history"


def _after(position: Position, page: Page) -> Position:
    """Behind this page."""
    position = position.asked(page.requests, again=bool(position.cursor.idle))
    if page.turn.cursor:
        return replace(position, cursor=page.turn.cursor)
    further = KINDS[KINDS.index(page.kind) + 1 :]
    return replace(position, reading=further[0] if further else "over", cursor=Cursor())


def _span(kind: Kind, job: Job) -> dict[str, str]:
    """Which orders are asked for, by when they were placed."""
    given = {name: job.params[name] for name in ("after", "before") if name in job.params}
    return {name: in_gmt(datetime.fromisoformat(at)) for name, at in given.items()} if kind == "orders" else {}


def in_gmt(at: datetime) -> str:
    """As wc/v3 takes a time where `dates_are_gmt`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
