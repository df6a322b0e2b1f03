"""The HTTP application: all routes under WordPress' prefix, health beside them."""

from datetime import timedelta

from aiohttp import web

from api import stores
from api.errors import in_wordpress_words
from api.ingest.intake import Intake
from api.recent import Recent
from api.routes import customers, dead, deliveries, ingest, jobs, rules, rules_try, stats, store, webhooks
from api.settings import ApiSettings
from api.state import STATE, State
from shared import db, health
from shared.commands import Asker
from shared.service import Service

BASE = "/wp-json/trustlens/v1"
PARTITIONED = ("api.raw_input",)


def build(state: State, *, broker_answers: health.Check) -> web.Application:
    app = web.Application(middlewares=[in_wordpress_words])
    app[STATE] = state
    for module in (customers, dead, deliveries, ingest, jobs, rules, rules_try, stats, store, webhooks):
        app.add_routes([web.route(route.method, BASE + route.path, route.handler) for route in module.ROUTES])
    # A broker that is down stops nothing here: what is accepted waits in the outbox.
    health.add_routes(app, {"postgres": lambda: db.answers(state.pool)}, shown={"broker": broker_answers})
    return app


def state_of(service: Service, settings: ApiSettings, partitions: db.Partitions) -> State:
    pool, vault = service.pool, service.vault
    return State(
        pool=pool,
        vault=vault,
        broker=service.broker,
        asker=Asker(service.broker),
        command_within=timedelta(seconds=settings.command_seconds),
        intake=Intake(
            pool,
            service.outbox,
            partitions,
            gather_seconds=settings.gather_seconds,
            commit_seconds=settings.commit_seconds,
            batch_size=settings.batch_size,
        ),
        keys=Recent(lambda sha256: stores.find_key(pool, sha256), max_age=settings.memory_seconds),
        stores=Recent(lambda store_id: stores.find_secrets(pool, vault, store_id), max_age=settings.memory_seconds),
    )
