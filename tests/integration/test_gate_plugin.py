"""deploy/woocommerce/trustlens-gate.php under PHP, against the real api."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import pytest

from api.gate import GateSettings
from api.settings import ApiSettings
from integration.test_gate import JANE, NOW, customer, set_gate
from local_stack.folder import CHECKOUT
from shared.secrets import Vault
from support.api_client import ApiClient
from support.languages import PHP, present

SHOP = CHECKOUT / "tests" / "support" / "woocommerce" / "shop.php"
REFUSED = GateSettings().message
WAYS = ["classic", "pay_page", "block"]

Act = Mapping[str, Any]


@pytest.fixture
def api_settings(api_settings: ApiSettings) -> ApiSettings:
    return api_settings.model_copy(update={"memory_seconds": 0})


async def act(url: str, key: str, acts: Sequence[Act]) -> list[dict[str, Any]]:
    """What became of each, in a PHP process of its own."""
    program = await asyncio.to_thread(present, PHP)
    process = await asyncio.create_subprocess_exec(
        *(program, "-d", "display_errors=stderr", "-d", "error_reporting=-1", SHOP),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, complaints = await process.communicate(json.dumps({"url": url, "key": key, "acts": acts}).encode())
    assert (process.returncode, complaints) == (0, b""), complaints + out
    return [json.loads(line) for line in out.splitlines()]


async def shop(api: ApiClient, *acts: Act) -> list[str | None]:
    """What the shopper was told."""
    return [done["told"] for done in await act(api.origin, api.store.api_key, acts)]


@pytest.mark.parametrize("how", WAYS)
async def test_a_blocked_customer_is_told_the_neutral_message_in_each_checkout_and_others_go_on(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault, how: str
) -> None:
    await customer(api, pool, vault, is_blocked=True)

    told = await shop(api, {"how": how, "email": JANE}, {"how": how, "email": "joe@example.com"})

    assert told == [REFUSED, None]


@pytest.mark.parametrize("how", WAYS)
async def test_failed_orders_are_declines_and_the_third_locks_the_device_out(api: ApiClient, how: str) -> None:
    failed = {"how": "failed", "email": JANE, "country": "GB"}

    told = await shop(api, failed, failed, {"how": how}, failed, {"how": how}, {"how": how, "user_agent": "another"})

    assert told == [None, None, None, None, REFUSED, None]
    assert (await api.get("/checkout/attacks")).json["countries"] == [{"name": "GB", "count": 3}]


async def test_each_decline_of_one_order_is_told_once_where_stripe_tells_of_it(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    """The order is failed since the first, so that its status tells of no other."""
    first, again = {"how": "failed", "id": 7}, {"how": "failed_at_stripe", "id": 7}
    for request in ([first, again], [again], [again]):
        await shop(api, *request)

    assert await pool.fetchval("SELECT count(*) FROM api.gate_history WHERE kind = 'declined'") == 3
    assert await shop(api, {"how": "block"}) == [REFUSED]


async def test_codes_of_coupons_are_told_as_they_are_in_any_script(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    other = await customer(api, pool, vault, "other@example.com", first_coupon_at=NOW)
    mine = await customer(api, pool, vault)
    await pool.execute("INSERT INTO scorer.link_hashes VALUES ($1, $2, 2)", api.store.id, b"\0shared")
    for hashed in (mine, other):
        await pool.execute(
            "INSERT INTO scorer.fingerprints VALUES ($1, $2, $3, now())", api.store.id, b"\0shared", hashed
        )
    await pool.execute("INSERT INTO scorer.coupons VALUES ($1, 'début', true, now(), '')", api.store.id)
    await set_gate(api, pool, refuse_coupon_abuse=True)

    told = await shop(api, *({"how": "classic", "email": JANE, "coupons": [code]} for code in ("début", "dbut")))

    assert told == [REFUSED, None]


async def test_a_form_that_was_typed_wrong_is_no_submission(api: ApiClient, pool: asyncpg.Pool) -> None:
    await shop(api, *[{"how": "mistyped", "email": JANE}] * 12)

    assert await pool.fetchval("SELECT count(*) FROM api.gate_devices") == 0


async def test_nothing_that_a_shopper_types_makes_the_gate_refuse_to_read_it(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    nonsense = {
        "how": "block",
        "email": "é" * 5000,
        "ip": "unknown",
        "user_agent": "\0ü\n" + "x" * 5000,
        "total": "-1.0E+25",
        "country": "Deutschland",
        "coupons": ["w" * 300, "\0", "", *["x"] * 80],
    }
    await api.post("/checkout/freeze")

    told = await shop(api, nonsense, {**nonsense, "how": "failed"})

    assert told == [REFUSED, None]  # it was read: a freeze refuses everybody
    assert await pool.fetchval("SELECT count(*) FROM api.gate_history WHERE kind = 'declined'") == 1


@pytest.mark.parametrize("how", WAYS)
async def test_a_wrong_key_and_a_gate_that_is_not_there_or_not_set_up_let_the_shopper_go_on(
    api: ApiClient, how: str
) -> None:
    await api.post("/checkout/freeze")

    for url, key in [(api.origin, "tl_wrong"), ("http://127.0.0.1:9", "k"), (api.origin + "/nowhere", "k"), ("", "")]:
        assert [done["told"] for done in await act(url, key, [{"how": how}])] == [None]


async def test_a_gate_that_does_not_answer_holds_the_shopper_up_for_a_second() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        (done,) = await act(f"http://127.0.0.1:{port}", "k", [{"how": "classic"}])

    assert done["told"] is None
    assert 0.9 <= done["seconds"] < 5
