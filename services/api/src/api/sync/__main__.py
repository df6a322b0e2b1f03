"""`python -m api.sync`: the only process of the api that calls out."""

import asyncio
from functools import partial

from api.app import PARTITIONED
from api.sync import store
from api.sync.past import Past
from api.sync.poll import TRIES as POLL_TRIES
from api.sync.poll import CatchUp
from api.sync.reader import Reader
from api.sync.settings import SyncSettings
from api.sync.wc import Stores, open_session
from api.sync.webhooks import Webhooks
from shared.db import Partitions
from shared.jobs import Jobs
from shared.service import health_app, main, running


async def run(settings: SyncSettings, stop: asyncio.Event) -> None:
    """The process, until `stop` is set and every page in hand is stored."""
    async with open_session(settings.reach) as session, running("sync", "api", settings, stop) as service:
        await service.listen(health_app(service))
        stores = Stores(session, settings, partial(store.save_why_waiting, service.pool))
        reader = Reader(stores, service.pool, service.vault, Partitions(*PARTITIONED))
        past = Past(reader, tries=settings.sync_tries)
        connecting = Webhooks(stores, reader, tries=settings.sync_tries)
        prepared = {"sync": past.prepare, "connect": connecting.prepare}
        jobs = Jobs(service.pool, service.outbox, "api", {}, prepared=prepared)
        service.work("jobs", jobs.run_side_by_side(settings.stores_at_once, stop))
        mending = Webhooks(stores, reader, tries=POLL_TRIES)
        catch_up = CatchUp(service.pool, service.outbox, reader, mending, settings)
        service.work("catch_up", catch_up.run(stop))
        await service.until_stopped()


if __name__ == "__main__":
    main("sync", SyncSettings, run)
