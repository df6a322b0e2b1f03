"""/healthz, /readyz and /metrics, the same on every service."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.steps import STUCK_SECONDS, Step

Check = Callable[[], Awaitable[bool]]


def add_routes(
    app: web.Application,
    checks: Mapping[str, Check],
    *,
    shown: Mapping[str, Check] | None = None,
    steps: Sequence[Step] = (),
    stuck_seconds: float = STUCK_SECONDS,
) -> None:
    """`checks` decide readiness; `shown` are only told. Alive: the loop answers, and none of `steps` takes too long."""

    async def alive(_: web.Request) -> web.Response:
        now = time.monotonic()
        stuck = {step.task: round(step.seconds(now)) for step in steps if step.seconds(now) > stuck_seconds}
        if stuck:
            return web.json_response({"status": "stuck", "tasks": stuck}, status=503)
        return web.json_response({"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        deciding = {name: await check() for name, check in checks.items()}
        told = {name: await check() for name, check in (shown or {}).items()}
        return web.json_response(deciding | told, status=200 if all(deciding.values()) else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.add_routes([web.get("/healthz", alive), web.get("/readyz", ready), web.get("/metrics", metrics)])


async def serve(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Start listening; the runner (to clean up) and the port in use."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, runner.addresses[0][1]
