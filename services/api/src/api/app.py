"""The HTTP application: all routes under WordPress' prefix, health beside them."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from functools import partial
from typing import NoReturn

from aiohttp import web

from api import audit as audit_log
from api import auth, cors, stores
from api.errors import in_wordpress_words
from api.ingest.intake import Intake
from api.limits import Limits
from api.metrics import timed
from api.recent import Recent
from api.routes import (
    BASE,
    audit,
    chargebacks,
    checkout,
    customers,
    dead,
    deliveries,
    description,
    ingest,
    jobs,
    keys,
    rules,
    rules_try,
    stats,
    store,
    sync,
    webhooks,
)
from api.settings import ApiSettings
from api.state import STATE, State
from api.store.gate import find_gate
from api.sync.store import save_webhooks_seen
from api.traced import traced
from api.usage import Usage
from shared import db, health, traces
from shared.commands import Asker
from shared.service import Service
from shared.steps import Step

PARTITIONED = ("api.raw_input",)
ROUTES = tuple(
    route
    for module in (
        *(customers, stats, ingest, checkout, chargebacks, webhooks, deliveries, rules, rules_try),
        *(jobs, store, sync, keys, audit, dead),
    )
    for route in module.ROUTES
)
"""In the order in which they are described."""


def build(
    state: State, settings: ApiSettings, *, broker_answers: health.Check, steps: Sequence[Step], stuck_seconds: float
) -> web.Application:
    outermost = [timed, traced] if traces.on() else [timed]
    app = web.Application(middlewares=[*outermost, audit_log.completed, in_wordpress_words])
    app[STATE] = state
    app.add_routes([_under_base(route) for route in (*ROUTES, *_closed(ROUTES))])
    app.add_routes(description.described(ROUTES))
    # A broker that is down stops nothing here: what is accepted waits in the outbox.
    health.add_routes(
        app,
        {"postgres": lambda: db.answers(state.pool)},
        shown={"broker": broker_answers},
        steps=steps,
        stuck_seconds=stuck_seconds,
    )
    if state.limits:
        app.on_response_prepare.append(auth.tell_limit)
    if settings.cors_origins:
        app.on_response_prepare.append(_cors(frozenset(settings.cors_origins)))
    return app


def _closed(routes: Sequence[web.RouteDef]) -> list[web.RouteDef]:
    """After paths without variables, for all other methods: /rules/schema is no rule that could be put."""
    return [
        web.route("*", path, partial(_refuse, _methods(routes, path)))
        for path in dict.fromkeys(route.path for route in routes if "{" not in route.path)
    ]


def _methods(routes: Sequence[web.RouteDef], path: str) -> set[str]:
    found = {route.method for route in routes if route.path == path}
    return found | {"HEAD"} if "GET" in found else found


async def _refuse(allowed: Collection[str], request: web.Request) -> NoReturn:
    raise web.HTTPMethodNotAllowed(request.method, allowed)


def _under_base(route: web.RouteDef) -> web.RouteDef:
    """With HEAD beside GET, as aiohttp's own `get` has it."""
    return web.RouteDef(route.method, BASE + route.path, route.handler, route.kwargs)


def _cors(origins: Collection[str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def tell(request: web.Request, response: web.StreamResponse) -> None:
        told = cors.headers(
            origins,
            origin=request.headers.get("Origin"),
            method=request.method,
            asked=request.headers.get("Access-Control-Request-Method"),
            allow=response.headers.get("Allow"),
        )
        response.headers.update(told)

    return tell


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
        usage=Usage(pool, stores.save_last_used),
        webhooks_seen=Usage(pool, save_webhooks_seen),
        reach=settings.reach,
        limits=Limits(settings.rate_limit) if settings.rate_limit else None,
        trusted_proxies=settings.trusted_proxies,
        stores=Recent(lambda store_id: stores.find_secrets(pool, vault, store_id), max_age=settings.memory_seconds),
        gates=Recent(lambda store_id: find_gate(pool, store_id), max_age=settings.memory_seconds),
        gate_seconds=settings.gate_seconds,
        body_seconds=settings.body_seconds,
    )
