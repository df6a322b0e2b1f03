"""The api service in this process, and a store's and an integrator's way to talk to it."""

import asyncio
import base64
import hashlib
import hmac
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from api.__main__ import run
from api.settings import ApiSettings
from api.stores import CreatedStore

BASE = "/wp-json/trustlens/v1"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(slots=True)
class ApiClient:
    session: aiohttp.ClientSession
    origin: str
    store: CreatedStore
    stop: asyncio.Event

    async def request(
        self, method: str, path: str, *, key: str | None = None, headers: Mapping[str, str] | None = None, **kwargs: Any
    ) -> Answer:
        """With the store's first key, unless another (or "" for none) is given."""
        key = self.store.api_key if key is None else key
        given = ({"X-TrustLens-API-Key": key} if key else {}) | dict(headers or {})
        async with self.session.request(method, self.origin + path, headers=given, **kwargs) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    async def get(self, path: str, **kwargs: Any) -> Answer:
        return await self.request("GET", BASE + path, **kwargs)

    async def post(self, path: str, **kwargs: Any) -> Answer:
        return await self.request("POST", BASE + path, **kwargs)

    async def deliver(
        self,
        body: bytes,
        *,
        topic: str = "order.updated",
        delivery_id: str = "d1",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """As the store sends it: signed, to its own ingest URL."""
        mac = hmac.new(self.store.woocommerce_secret.encode(), body, hashlib.sha256)
        signed = {
            "Content-Type": "application/json",
            "X-WC-Webhook-Source": "https://shop.example/",
            "X-WC-Webhook-Topic": topic,
            "X-WC-Webhook-Signature": base64.b64encode(mac.digest()).decode(),
            "X-WC-Webhook-ID": "7",
            "X-WC-Webhook-Delivery-ID": delivery_id,
        }
        return await self.post(
            f"/ingest/woocommerce/{self.store.id}", key="", data=io.BytesIO(body), headers=signed | dict(headers or {})
        )


@asynccontextmanager
async def serving(settings: ApiSettings, store: CreatedStore) -> AsyncIterator[ApiClient]:
    """The service from its start to its drained end."""
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    service = asyncio.create_task(run(settings, stop, listening=port.set_result))
    await asyncio.wait({service, port}, return_when=asyncio.FIRST_COMPLETED)
    if service.done():
        service.result()
    try:
        async with aiohttp.ClientSession() as session:
            yield ApiClient(session, f"http://127.0.0.1:{port.result()}", store, stop)
    finally:
        stop.set()
        await service
