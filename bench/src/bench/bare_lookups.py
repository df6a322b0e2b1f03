"""`python -m bench.bare_lookups CORE POOL DATABASE_URL`: an aiohttp handler that reads one row by its primary key.

Prints its port, and serves until its input ends. No key is asked for, nothing is hashed, checked or laid out.
"""

import asyncio
import gc
import os
import sys

import asyncpg
import uvloop
from aiohttp import web


async def serve(database_url: str, pool_size: int) -> None:
    pool = await asyncpg.create_pool(database_url, min_size=pool_size, max_size=pool_size)

    async def find(request: web.Request) -> web.Response:
        row = await pool.fetchrow(
            "SELECT id, email_hash, trust_score, segment FROM scorer.customers WHERE id = $1",
            int(request.match_info["id"]),
        )
        return web.json_response(dict(row))

    app = web.Application()
    app.add_routes([web.get("/customers/{id}", find)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gc.collect()
    gc.freeze()  # as a service does
    print(runner.addresses[0][1], flush=True)  # noqa: T201  # whoever started this reads it
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
    pool.terminate()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    uvloop.run(serve(sys.argv[3], int(sys.argv[2])))
