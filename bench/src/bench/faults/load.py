"""A shop that posts its orders, and tries each again until it is accepted."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat
from random import Random

from aiohttp import ClientError, ClientResponse, ClientSession

from bench.faults.ledger import Answer, Ledger, Posted, digest
from bench.faults.orders import Version, body
from cli import woocommerce

SHOP_URL = "https://shop.example/"
ANSWER_SECONDS = 60.0
"""As long as WooCommerce waits."""
AGAIN = (0.3, 0.6, 1.2, 2.5)
"""Seconds between tries; the last repeats."""
REPEATED = 20
"""One in so many webhooks is sent once more after it was accepted, as shops do."""


@dataclass(frozen=True, slots=True)
class Shop:
    """`urls`: of both apis. A try that fails goes to the other one next."""

    session: ClientSession
    urls: Sequence[str]
    secret: str
    ledger: Ledger
    epoch: datetime

    async def post_all(self, orders: Sequence[tuple[Version, ...]], *, until: float) -> None:
        """Each version when it is due, and when the one before it was accepted. `until`, by the loop's clock, no try
        begins any more.
        """
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for versions in orders:
                await _sleep_until(began + versions[0].due)
                group.create_task(self._post_order(versions, began, until), name=f"order {versions[0].order_id}")

    async def _post_order(self, versions: Sequence[Version], began: float, until: float) -> None:
        for version in versions:
            await _sleep_until(began + version.due)
            if not await self._post(version, until):
                return

    async def _post(self, version: Version, until: float) -> bool:
        """Whether it was accepted in the end."""
        raw = body(version, epoch=self.epoch)
        posted = Posted(version, digest(raw))
        self.ledger.posted.append(posted)
        for number, wait in enumerate(chain(AGAIN, repeat(AGAIN[-1]))):
            posted.answers.append(await self._try(version, raw, self._url(version, number)))
            if posted.accepted or asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(wait)
        if posted.accepted and Random(posted.digest).randrange(REPEATED) == 0:  # noqa: S311  # chance, not secrecy
            posted.answers.append(await self._try(version, raw, self._url(version, 1)))
        return posted.accepted

    def _url(self, version: Version, number: int) -> str:
        return self.urls[(version.order_id + number) % len(self.urls)]

    async def _try(self, version: Version, raw: bytes, url: str) -> Answer:
        headers = woocommerce.headers(
            raw,
            topic=version.topic,
            secret=self.secret,
            source=SHOP_URL,
            delivery_id=f"{version.order_id}-{version.number}",
        )
        try:
            async with self.session.post(url, data=raw, headers=headers) as response:
                return await _read(response)
        except (ClientError, TimeoutError, OSError):
            return Answer(time.time(), None)


async def _read(response: ClientResponse) -> Answer:
    told = await response.json(content_type=None)
    input_id = told.get("id", "") if response.status == 202 and isinstance(told, dict) else ""
    return Answer(time.time(), response.status, input_id)


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(moment - asyncio.get_running_loop().time(), 0))
