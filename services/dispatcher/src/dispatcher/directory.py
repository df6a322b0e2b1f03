"""What the dispatcher remembers of each store: its endpoints and its site, as of their revisions."""

from collections.abc import Collection
from uuid import UUID

from dispatcher import store
from dispatcher.destinations.webhook import Site
from dispatcher.endpoints import Endpoint, Target
from dispatcher.fanout import mail_server, shop
from shared.db import Connection
from shared.erasure import Person
from shared.secrets import Vault

MAIL_TIMEOUT = 30
"""Seconds: mail servers look up names and greet slowly."""
SHOP_TIMEOUT = 20
"""Seconds for reading an order, changing it and noting why."""


class UnknownStoreError(ValueError):
    """A message of a store that does not exist here."""


class Directory:
    """`refresh` before use: one statement when nothing changed."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._revisions: dict[UUID, store.Revisions] = {}
        self._endpoints: dict[UUID, list[Endpoint]] = {}
        self._sites: dict[UUID, Site] = {}
        self._own: dict[UUID, dict[UUID, Target]] = {}

    async def refresh(self, connection: Connection, store_ids: Collection[UUID]) -> None:
        """Reload what changed for these stores."""
        current = await store.revisions(connection, store_ids)
        stale = [r for r in current if self._revisions.get(r.store_id) != r]
        if not stale:
            return
        changed = {r.store_id for r in stale}
        endpoints = await store.endpoints(connection, self._vault, changed)
        self._sites |= await store.sites(connection, changed)
        for store_id, means in (await store.means(connection, self._vault, changed)).items():
            self._own[store_id] = {target.id: target for target in _own_targets(store_id, means, self._sites[store_id])}
        self._endpoints |= {store_id: [e for e in endpoints if e.store_id == store_id] for store_id in changed}
        self._revisions |= {r.store_id: r for r in stale}

    def endpoints(self, store_id: UUID) -> list[Endpoint]:
        return self._endpoints[store_id]

    def site(self, store_id: UUID) -> Site:
        """
        Raises:
            UnknownStoreError: there is no such store.
        """
        if store_id not in self._sites:
            raise UnknownStoreError(f"there is no store {store_id}")
        return self._sites[store_id]

    async def person(self, connection: Connection, store_id: UUID, email_hash: str) -> Person:
        """A store's customer, to be known by the hash."""
        return Person(email_hash, await store.hash_key(connection, self._vault, store_id))

    async def targets(
        self, connection: Connection, wanted: Collection[tuple[UUID, UUID]]
    ) -> dict[tuple[UUID, UUID], Target]:
        """Those that are there, by (store, id): endpoints, the store's own servers, rule actions' own targets."""
        await self.refresh(connection, {store_id for store_id, _ in wanted})
        found = {
            (store_id, target.id): target
            for store_id in {store_id for store_id, _ in wanted}
            for target in (*(e.target for e in self.endpoints(store_id)), *self._own.get(store_id, {}).values())
        }
        others = {target_id for store_id, target_id in wanted if (store_id, target_id) not in found}
        return found | (await store.rule_targets(connection, self._vault, others) if others else {})


def _own_targets(store_id: UUID, means: store.Means, site: Site) -> tuple[Target, Target]:
    """The store's mail server and its orders. Without means they are there all the same, and say what is missing."""
    return (
        Target(mail_server(store_id), "", MAIL_TIMEOUT, None, {}, via=means.smtp),
        Target(shop(store_id), site.url, SHOP_TIMEOUT, None, {}, via=means.orders),
    )
