"""What a page of a store's holds: which rows are new, and what each becomes.

Orders carry their own times. What the scorer has in that very version is not sent to it again.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal
from uuid import UUID

from api.body import BadBodyError, check, parse_object
from api.ingest import catalogue, woocommerce
from api.ingest.about import about
from api.ingest.intake import Input
from api.stores import StoreSecrets
from api.sync.store import Known
from api.sync.verdict import printable
from shared.events import Coupon, CouponFact, Fact, Order, OrderFact, Product, ProductFact, version_digest
from shared.identity import email_hash
from shared.ids import uuid7

SOURCE = "sync"
LIVE_AGE = timedelta(hours=24)
"""Younger orders are told like those of webhooks; older ones nobody needs to hear of (design: announced)."""
TRASH = "trash"
"""The status of what was deleted and can be restored; lists have it only where it is asked for."""
MAX_REASONS = 20
"""Different reasons that are told apart; more are told together."""
MAX_IDS = 10
"""Of what was skipped for one reason, as many as are told."""

Kind = Literal["products", "coupons", "orders"]
KINDS: tuple[Kind, ...] = ("products", "coupons", "orders")
"""In the order in which they are read: orders are scored by what is known of products and coupons then."""
FIELDS: Mapping[Kind, str] = {
    "products": ",".join(catalogue.WcProduct.model_fields),
    "coupons": ",".join(catalogue.WcCoupon.model_fields),
    "orders": ",".join(woocommerce.WcOrder.model_fields),
}
"""What is read of each; the rest, a coupon's users among it, need not travel."""
TOPICS: Mapping[Kind, str] = {"products": "product", "coupons": "coupon", "orders": "order"}

Lane = Literal["live", "history"]
Became = Literal["new", "changed", "unchanged", "skipped"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A row that was read, or why it could not be."""

    id: int
    data: Order | Product | Coupon | None = None
    modified_at: datetime | None = None
    """None: the store does not say."""
    kept: bytes = b""
    """As raw input: what came, or what was read of it where the rest is of other people."""
    skipped: str | None = None

    @property
    def key(self) -> int | str:
        """What the scorer knows it by."""
        return self.data.code if isinstance(self.data, Coupon) else self.id


def read(kind: Kind, row: Mapping[str, Any], key: bytes) -> Seen:
    """`key` is the store's, for fingerprints. The row has an id."""
    try:
        check(row)
        return _READERS[kind](row, key)
    except BadBodyError as error:
        return Seen(row["id"], skipped=printable("; ".join(f"{name} {fault}" for name, fault in error.params.items())))


def _order(row: Mapping[str, Any], key: bytes) -> Seen:
    order = woocommerce.read_order(row, key)
    return Seen(order.id, order, order.modified_at, _as_it_came(row))


def _product(row: Mapping[str, Any], _: bytes) -> Seen:
    told = catalogue.read_product(row)
    if told is None:
        return Seen(row["id"], skipped="is a variation: it is in the categories of its product")
    return Seen(row["id"], *told, _as_it_came(row))


def _coupon(row: Mapping[str, Any], _: bytes) -> Seen:
    told = catalogue.read_coupon(row)
    if told is None:
        return Seen(row["id"], skipped="code is none that an order could name")
    return Seen(row["id"], *told, told[0].encode())


_READERS = {"products": _product, "coupons": _coupon, "orders": _order}


def _as_it_came(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode()


def lane(seen: Seen, now: datetime) -> Lane:
    """Of what a catch-up found: as a webhook would have told it, if it is young enough to matter."""
    return "history" if isinstance(seen.data, Order) and seen.data.created_at <= now - LIVE_AGE else "live"


def became(seen: Seen, known: Known | None, lane: Lane) -> Became:
    """What it is to the scorer. On the live lane an order is still news that history stored and nobody was told of."""
    if seen.data is None:
        return "skipped"
    if known is None:
        return "new"
    if lane == "live" and not known.announced:
        return "changed"
    if isinstance(seen.data, Order) and seen.data.card_brand and not known.card_brand:
        return "changed"  # stored before brands were read: the version is the same, its card is news
    if seen.modified_at and seen.modified_at < known.modified_at:
        return "unchanged"  # the store told of a later version while this page was on its way
    same = known.digest == _digest(seen.data) and seen.modified_at in {None, known.modified_at}
    return "unchanged" if same else "changed"


def _digest(data: Order | Product | Coupon) -> bytes:
    """As the scorer keeps it."""
    return version_digest(data) if isinstance(data, Order) else sha256(data.encode()).digest()


def input_of(kind: Kind, seen: Seen, secrets: StoreSecrets, lane: Lane, now: datetime) -> Input:
    """Of a row that was not skipped. Known again by its content and when that was written: a version that came this
    way before, and on this lane, is a duplicate; a product that is again what it was before is none.
    """
    fact = _fact(seen, secrets.store_id, now)
    told = (SOURCE, lane, kind, str(seen.id), str(seen.modified_at))
    parts = (secrets.store_id.bytes, *map(str.encode, told), fact.data.encode())
    digest = sha256(b"\0".join(sha256(part).digest() for part in parts)).digest()
    return Input(SOURCE, TOPICS[kind], digest, seen.kept, fact, about(fact, secrets.hash_key), lane)


def _fact(seen: Seen, store_id: UUID, now: datetime) -> Fact:
    fact_id, at = uuid7(), seen.modified_at or now
    match seen.data:
        case Order():
            return OrderFact(id=fact_id, store_id=store_id, occurred_at=at, data=seen.data)
        case Product():
            return ProductFact(id=fact_id, store_id=store_id, occurred_at=at, data=seen.data)
        case Coupon():
            return CouponFact(id=fact_id, store_id=store_id, occurred_at=at, data=seen.data)
        case None:
            raise ValueError("what was skipped is not sent")


# Books ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Skipped:
    count: int = 0
    ids: tuple[int, ...] = ()
    """The first."""


@dataclass(frozen=True, slots=True)
class Books:
    """seen = new + changed + unchanged + skipped."""

    seen: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: Mapping[str, Skipped] = field(default_factory=dict)
    """By reason."""

    def result(self) -> dict[str, Any]:
        """As a job tells it."""
        skipped = [{"reason": why, "count": of.count, "ids": list(of.ids)} for why, of in self.skipped.items()]
        counts = {"seen": self.seen, "new": self.new, "changed": self.changed, "unchanged": self.unchanged}
        return {**counts, "skipped": skipped}


def entered(books: Books, rows: Iterable[tuple[Seen, Became]]) -> Books:
    """The books with these rows in them."""
    counts = dict.fromkeys(("new", "changed", "unchanged"), 0)
    skipped, seen = dict(books.skipped), 0
    for row, what in rows:
        seen += 1
        if what == "skipped":
            reason = row.skipped or "is nothing that could be read"
            reason = reason if reason in skipped or len(skipped) < MAX_REASONS else "for other reasons"
            before = skipped.get(reason, Skipped())
            skipped[reason] = Skipped(before.count + 1, (*before.ids, row.id)[:MAX_IDS])
        else:
            counts[what] += 1
    return Books(
        seen=books.seen + seen,
        new=books.new + counts["new"],
        changed=books.changed + counts["changed"],
        unchanged=books.unchanged + counts["unchanged"],
        skipped=skipped,
    )


# Gaps -----------------------------------------------------------------------------------------------------------------


def late(rows: Sequence[Seen], known: Mapping[int | str, Known], now: datetime, grace: timedelta) -> dict[int, Order]:
    """Orders in versions that a webhook should have told by now and the scorer does not have, by id."""
    return {
        row.id: row.data
        for row in rows
        if isinstance(row.data, Order)
        and row.data.modified_at < now - grace
        and (row.id not in known or known[row.id].modified_at < row.data.modified_at)
    }


_IDS = re.compile(rb'"id"\s*:\s*([0-9]{1,19})')
"""To pass over a webhook of other orders, in a hundredth of the time that reading it takes: of orders without an
address all that came may have to be looked through.
"""


def owners(rows: Iterable[Seen], key: bytes) -> list[str]:
    """The customers of these orders, as raw input names them."""
    emails = {row.data.email for row in rows if isinstance(row.data, Order) and row.data.email}
    return [email_hash(key, email) for email in sorted(emails)]


def untold(late: Mapping[int, Order], webhooks: Iterable[bytes], key: bytes) -> set[int]:
    """Those of them that no webhook told. What one told may still be on its way to the scorer."""
    told = set()
    for body in webhooks:
        if late.keys().isdisjoint(map(int, _IDS.findall(body))):
            continue
        try:
            told.add(_told(parse_object(body), late, key))
        except BadBodyError:  # emptied by an erasure
            continue
    return set(late) - told


def _told(body: Mapping[str, Any], late: Mapping[int, Order], key: bytes) -> int | None:
    """Which of them a webhook tells. A deletion carries nothing but the id."""
    if body.keys() == {"id"}:
        deleted = [row for row, order in late.items() if row == body["id"] and order.status == TRASH]
        return deleted[0] if deleted else None
    order = woocommerce.read_order(body, key)
    return order.id if order.id in late and order.modified_at >= late[order.id].modified_at else None
