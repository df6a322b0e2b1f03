"""What images ask their own service, to be healthy."""

import asyncio
import os
import sys

from aiohttp import web

from shared.probe import answers


async def program(port: int, *paths: str) -> int:
    environ = os.environ | {"TRUSTLENS_PORT": str(port)}
    probe = await asyncio.create_subprocess_exec(sys.executable, "-m", "shared.probe", *paths, env=environ)
    return await probe.wait()


async def test_a_probe_tells_200_from_503_from_nobody_there() -> None:
    async def status(request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["status"]))

    app = web.Application()
    app.add_routes([web.get("/{status}", status)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    assert await asyncio.to_thread(answers, port, "/200")
    assert not await asyncio.to_thread(answers, port, "/503")
    assert await program(port, "/200", "/200") == 0
    assert await program(port, "/200", "/503") == 1
    await runner.cleanup()
    assert not await asyncio.to_thread(answers, port, "/200")
