"""How long shoppers wait for the checkout gate, beside an attack from one device, and whom it refuses."""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import nan
from typing import Any

import aiohttp

from api.stores import create_key
from bench import asking, stack
from bench.asking import BASE
from bench.progress import counted
from bench.report import Bound, Figure, Result
from bench.stack import Site, Track
from cli import shop
from cli.latency import percentile
from local_stack.errors import StackError

RATE = 300
"""Submissions a second, of as many devices."""
ATTACKER = {"ip": "198.51.100.66", "user_agent": "python-requests/2.31"}
ATTACK_RATE = 30
"""A second: seen in the wild were 1,674 orders of one address in an hour, with pauses."""
DECLINES = 3
CHUNK = 100_000
SEED = 7
P99 = Bound("at most", 15)
NONE = Bound("at most", 0)
_DEVICES = """
    INSERT INTO api.gate_devices (store_id, device, submissions, declines, seen_at)
    SELECT $1, decode(md5(n::text), 'hex'), ARRAY[now(), now()], '{}', now() FROM generate_series($2::int, $3::int) AS n
"""


@dataclass(slots=True)
class Asked:
    """What came of many calls."""

    times: list[float] = field(default_factory=list)
    """Milliseconds."""
    answers: Counter[str] = field(default_factory=Counter)
    """Reasons, `allow`, and `degraded`."""


@dataclass(frozen=True, slots=True)
class Client:
    session: aiohttp.ClientSession

    async def authorize(self, asked: Asked, body: Mapping[str, str]) -> str:
        began = time.perf_counter()
        answer = await self._post("authorize", body)
        asked.times.append(1000 * (time.perf_counter() - began))
        told = "degraded" if answer["degraded"] else str(answer["reason"] or "allow")
        asked.answers[told] += 1
        return told

    async def decline(self, body: Mapping[str, str]) -> None:
        await self._post("declined", body)

    async def _post(self, what: str, body: Mapping[str, str]) -> Mapping[str, object]:
        async with self.session.post(f"{BASE}/checkout/{what}", json=body) as response:
            if response.status != 200:
                raise StackError(f"The gate answers {response.status}: {(await response.text())[:200]}")
            return dict(await response.json())


async def measure(site: Site, *, devices: int, seconds: float) -> Result:
    async with stack.track(site) as track:
        await _fill(track, devices)
        async with asking.api(track) as api, aiohttp.ClientSession(api.url, headers=await _key(track)) as session:
            client = Client(session)
            await _alone(client, min(seconds, 2), Asked())  # connections, plans and memory are made
            alone = Asked()
            await _alone(client, seconds, alone)
            honest, attack = await _attacked(client, seconds)
    return _result(alone, honest, attack)


async def _fill(track: Track, devices: int) -> None:
    async with stack.connected(track) as pool:
        with counted(f"gate: {devices:,} devices", devices) as show:
            for low in range(1, devices + 1, CHUNK):
                high = min(low + CHUNK - 1, devices)
                await pool.execute(_DEVICES, track.site.shops[0].id, low, high)
                show(high)
        await pool.execute("VACUUM (ANALYZE) api.gate_devices")


async def _key(track: Track) -> Mapping[str, str]:
    async with stack.connected(track) as pool, pool.acquire() as connection:
        key = await create_key(connection, track.site.shops[0].id, name="gate", scopes=["ingest"])
    return {"X-TrustLens-API-Key": key.key}


async def _alone(client: Client, seconds: float, asked: Asked) -> None:
    shoppers = [_shopper(number) for number in range(round(seconds * RATE))]
    with counted("gate: shoppers", len(shoppers)) as show:
        await _in_time(RATE, (client.authorize(asked, shopper) for shopper in shoppers))
        show(len(shoppers))


@dataclass(slots=True)
class Attack:
    """One device that tries cards: every payment that the gate lets it try is declined."""

    client: Client
    asked: Asked = field(default_factory=Asked)
    declines: int = 0
    """Told and answered."""
    tried: int = 0
    late: int = 0
    """Payments that it could try although the third decline was told before it submitted the form."""

    async def attempt(self, number: int) -> None:
        is_late = self.declines >= DECLINES
        if await self.client.authorize(self.asked, {**ATTACKER, "email": f"a{number}@attack.example"}) != "allow":
            return
        self.tried += 1
        self.late += is_late
        await self.client.decline({**ATTACKER, "country": "GB", "code": "card_declined"})
        self.declines += 1


async def _attacked(client: Client, seconds: float) -> tuple[Asked, Attack]:
    """What a shop's customers meet meanwhile, those of the demo shop and as many others as make the rate."""
    honest, attack = Asked(), Attack(client)
    known = _of_the_demo_shop()
    shoppers = [*known, *(_shopper(number) for number in range(max(round(seconds * RATE) - len(known), 0)))]
    with counted("gate: an attack", len(shoppers)) as show:
        await asyncio.gather(
            _in_time(RATE, (client.authorize(honest, shopper) for shopper in shoppers)),
            _in_time(ATTACK_RATE, (attack.attempt(number) for number in range(round(seconds * ATTACK_RATE)))),
        )
        show(len(shoppers))
    return honest, attack


def _of_the_demo_shop() -> list[Mapping[str, str]]:
    """Each customer's last order, from the address that it came from."""
    events = shop.order_events(now=datetime.now(UTC), seed=SEED)
    latest = {event.order["billing"]["email"]: event.order for event in events}
    return [
        {"email": email, "ip": order["customer_ip_address"], "user_agent": "Mozilla/5.0", "amount": order["total"]}
        for email, order in latest.items()
    ]


def _shopper(number: int) -> Mapping[str, str]:
    """Somebody who comes once, from an address of his own."""
    high, low = divmod(number, 250)
    address = {"ip": f"100.{64 + high // 250 % 60}.{high % 250}.{low + 1}", "user_agent": "Mozilla/5.0"}
    return {"email": f"s{number}@bench.example", "amount": "49.00", "currency": "EUR", **address}


async def _in_time(rate: float, calls: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Each at its time, whether those before it are answered or not."""
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, call in enumerate(calls):
            await asyncio.sleep(began + number / rate - time.perf_counter())
            tasks.create_task(call)


def _result(alone: Asked, honest: Asked, attack: Attack) -> Result:
    refused = sum(honest.answers[reason] for reason in honest.answers if reason not in {"allow", "degraded"})
    degraded = sum(asked.answers["degraded"] for asked in (alone, honest, attack.asked))
    return Result(
        "gate",
        [
            Figure("shoppers, median", percentile(alone.times, 50) or nan, "ms"),
            Figure("shoppers, p99", percentile(alone.times, 99) or nan, "ms", P99),
            Figure("shoppers beside an attack, p99", percentile(honest.times, 99) or nan, "ms"),
            Figure("honest shoppers refused", refused, "shoppers", NONE),
            Figure("payments that the attacker could try", attack.tried, "payments"),
            Figure("of them after the third decline", attack.late, "payments", NONE),
            Figure("attacker's submissions refused", attack.asked.answers["lockout"], "submissions"),
            Figure("let through because Postgres was late", degraded, "submissions", NONE),
        ],
        series={"shoppers, ms": alone.times, "beside an attack, ms": honest.times},
    )
