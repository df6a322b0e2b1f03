"""A store's own webhooks: made, kept, and switched on again where the store gave up on us (wc/v3/webhooks)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal
from uuid import UUID

import structlog

from api.ingest.topics import READ
from api.stores import StoreSecrets
from api.sync import store
from api.sync.reader import Reader
from api.sync.verdict import printable
from api.sync.walk import PER_PAGE
from api.sync.wc import Row, Shop, StoreError, Stores
from shared import jobs
from shared.jobs import Found, GivenUpError, Job
from shared.outbox import Transaction

log = structlog.get_logger()

API_VERSION = "wp_api_v3"
MOST_PAGES = 10
"""Of webhooks: a shop has a dozen."""


@dataclass(frozen=True, slots=True)
class Webhook:
    topic: str
    id: int
    status: Literal["made", "kept", "enabled"]


def ours(webhook: Row, store_id: UUID, delivery_url: str | None) -> bool:
    """Whether it tells us: it goes where those go that we made, or to this store's ingest URL, by whatever address."""
    url = webhook.get("delivery_url")
    return isinstance(url, str) and (url == delivery_url or url.rstrip("/").endswith(f"/ingest/woocommerce/{store_id}"))


class Webhooks:
    """Makes and mends them."""

    def __init__(self, stores: Stores, reader: Reader, *, tries: int) -> None:
        self._stores = stores
        self._reader = reader
        self._tries = tries

    async def prepare(self, job: Job) -> jobs.Page:
        """The job `connect`, in one page.

        Raises:
            GivenUpError: the store does not let us. What is made by then is told, and kept by the next try. The key is
            saved if the store has taken it, also where it may only read.
        """
        done: list[Webhook] = []
        url = job.params["delivery_url"]
        try:
            shop, secrets = await self._reader.find(job.store_id, job.params.get("access"))
            there = await self.listed(shop)
            if "access" in job.params:
                await self._reader.keep_access(job.id, shop)
            await self._ensure(shop, secrets, url, there, done)
        except StoreError as error:
            await self._reader.forget_access(job.id)
            raise GivenUpError(str(error), {**_result(done), "error": str(error)}) from None

        async def connected(transaction: Transaction, job: Job) -> Found:
            await store.save_delivery_url(transaction.connection, job.store_id, url)
            return Found(_result(done))

        return connected

    async def _ensure(
        self, shop: Shop, secrets: StoreSecrets, url: str, there: Sequence[Row], done: list[Webhook]
    ) -> None:
        """One for each topic; `done` is told of each as soon as it is there."""
        for topic in READ:
            found = _found(there, url, topic)
            webhook = await (
                self._kept(shop, secrets, found) if found else self._made(shop, _wanted(secrets, url, topic))
            )
            done.append(webhook)

    async def _made(self, shop: Shop, wanted: Row) -> Webhook:
        """The request is not repeated blindly: it may be done though its answer was lost."""

        async def done() -> Row | None:
            return _found(await self.listed(shop), wanted["delivery_url"], wanted["topic"])

        made = await self._stores.ask(shop, "POST", "/webhooks", body=wanted, tries=self._tries, done=done)
        return Webhook(wanted["topic"], _id_of(made.told.value), "made")

    async def _kept(self, shop: Shop, secrets: StoreSecrets, webhook: Row) -> Webhook:
        if webhook.get("status") == "active":
            return Webhook(webhook["topic"], webhook["id"], "kept")
        await self.switch_on(shop, secrets, webhook)
        return Webhook(webhook["topic"], webhook["id"], "enabled")

    async def switch_on(self, shop: Shop, secrets: StoreSecrets, webhook: Row) -> None:
        """With the secret, which nobody can read to see whether it is still ours."""
        body = {"status": "active", "secret": secrets.woocommerce_secret}
        await self._stores.ask(shop, "PUT", f"/webhooks/{webhook['id']}", body=body, tries=self._tries)
        log.warning("store.webhook_enabled", store=str(shop.id), topic=_topic(webhook))

    async def listed(self, shop: Shop) -> list[Row]:
        """All of them: a page lacks what the key may not read, so a short one need not be the last."""
        found: list[Row] = []
        for page in range(1, MOST_PAGES + 1):
            params = {"per_page": str(PER_PAGE), "page": str(page), "orderby": "id", "order": "asc"}
            answered = await self._stores.ask(shop, "GET", "/webhooks", params=params, tries=self._tries)
            found += answered.rows
            total = answered.told.total
            if not answered.rows or (total is not None and page * PER_PAGE >= total):
                break
        return found

    async def mend(self, shop: Shop, secrets: StoreSecrets, delivery_url: str | None) -> str | None:
        """Switch ours on that the store switched off after too many failures; what is wrong where we could not.

        One that somebody paused stays so.
        """
        off = [
            webhook
            for webhook in await self.listed(shop)
            if webhook.get("status") == "disabled" and ours(webhook, shop.id, delivery_url)
        ]
        try:
            for webhook in off:
                await self.switch_on(shop, secrets, webhook)
        except StoreError as error:
            return f"{_named(off)} switched off in the store, and cannot be switched on again: {error}"
        return None


def _found(webhooks: Sequence[Row], url: str, topic: str) -> Row | None:
    """Of several the one that is active."""
    alike = [webhook for webhook in webhooks if webhook.get("delivery_url") == url and webhook.get("topic") == topic]
    return min(alike, key=lambda webhook: (webhook.get("status") != "active", webhook["id"]), default=None)


def _topic(webhook: Row) -> str:
    """As it may be repeated, whatever stands there."""
    return printable(str(webhook.get("topic")))[:50]


def _named(webhooks: Sequence[Row]) -> str:
    topics = ", ".join(sorted(map(_topic, webhooks)))
    return f"The webhook {topics} is" if len(webhooks) == 1 else f"The webhooks {topics} are"


def _wanted(secrets: StoreSecrets, url: str, topic: str) -> Row:
    return {
        "name": f"TrustLens: {topic}",
        "topic": topic,
        "delivery_url": url,
        "secret": secrets.woocommerce_secret,
        "status": "active",
        "api_version": API_VERSION,
    }


def _id_of(made: object) -> int:
    number = made.get("id") if isinstance(made, dict) else None
    if type(number) is not int:
        raise StoreError("The store does not say what it made of the webhook.")
    return number


def _result(done: Sequence[Webhook]) -> Mapping[str, object]:
    return {"webhooks": [asdict(webhook) for webhook in done]}
