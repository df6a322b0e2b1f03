"""The checkout gate on the whole system: what a refusal becomes."""

import asyncio
from typing import Any

from support.rule_world import World, block

EMAIL, TESTER = "gate-blocked@shop.example", "gate-tester@shop.example"


async def timeline(world: World, email: str, kind: str, count: int = 1) -> list[Any]:
    """Entries of this kind, once there are so many."""
    hashed = (await world.customer(email))["email_hash"]
    while True:
        found: list[Any] = await world.get(f"/customers/{hashed}/events?type={kind}&per_page=100")
        if len(found) >= count:
            return found
        await asyncio.sleep(0.05)


async def authorize(world: World, email: str, ip: str) -> Any:
    status, answer = await world.call("POST", "/checkout/authorize", {"email": email, "ip": ip, "user_agent": "A"})
    assert status == 200, answer
    return answer["reason"]


async def test_each_prevented_attempt_of_a_blocked_customer_is_told_once(world: World) -> None:
    await block(world, EMAIL, 7100)

    reasons = [await authorize(world, EMAIL, f"198.51.100.{n}") for n in range(3)]

    assert reasons == ["customer_blocked"] * 3
    assert len(await timeline(world, EMAIL, "checkout_blocked", 3)) == 3


async def test_a_lockout_is_told_once_and_costs_the_customer_points(world: World) -> None:
    await world.put(7200, TESTER)
    before = (await world.customer(TESTER))["trust_score"]
    card = {"email": TESTER, "ip": "198.51.100.99", "user_agent": "A", "country": "GB", "code": "card_declined"}
    for _ in range(3):
        await world.call("POST", "/checkout/declined", card)

    reasons = [await authorize(world, TESTER, "198.51.100.99") for _ in range(5)]

    assert reasons == ["lockout"] * 5
    scored = await world.customer(
        TESTER, so=lambda customer: sum(it["module"] == "card_testing" for it in customer["signals"]) == 2
    )
    assert scored["trust_score"] < before
    assert len(await timeline(world, TESTER, "card_testing_detected")) == 1
    assert await timeline(world, TESTER, "checkout_blocked", 0) == []
