"""What the dispatcher remembers of each store: its endpoints and its site, as of their revisions."""

from collections.abc import Collection
from uuid import UUID

from dispatcher import store
from dispatcher.destinations.webhook import Site
from dispatcher.endpoints import Endpoint, Target
from shared.db import Connection
from shared.secrets import Vault


class UnknownStoreError(ValueError):
    """A message of a store that does not exist here."""


class Directory:
    """`refresh` before use: one statement when nothing changed."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._revisions: dict[UUID, store.Revisions] = {}
        self._endpoints: dict[UUID, list[Endpoint]] = {}
        self._sites: dict[UUID, Site] = {}

    async def refresh(self, connection: Connection, store_ids: Collection[UUID]) -> None:
        """Reload what changed for these stores."""
        current = await store.revisions(connection, store_ids)
        stale = [r for r in current if self._revisions.get(r.store_id) != r]
        if not stale:
            return
        changed = {r.store_id for r in stale}
        endpoints = await store.endpoints(connection, self._vault, changed)
        self._sites |= await store.sites(connection, changed)
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

    async def targets(
        self, connection: Connection, wanted: Collection[tuple[UUID, UUID]]
    ) -> dict[tuple[UUID, UUID], Target]:
        """Those of the targets that are there, by (store, id): endpoints, and rule actions' own."""
        await self.refresh(connection, {store_id for store_id, _ in wanted})
        found = {
            (store_id, endpoint.id): endpoint.target
            for store_id in {store_id for store_id, _ in wanted}
            for endpoint in self.endpoints(store_id)
        }
        others = {target_id for store_id, target_id in wanted if (store_id, target_id) not in found}
        return found | (await store.rule_targets(connection, self._vault, others) if others else {})
