"""Rules' Slack messages, e-mails and order changes go through the same machine as webhooks do."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from cryptography.fernet import Fernet

from api import stores
from shared.broker import Broker
from shared.events import Automation
from shared.secrets import Vault
from support import fake_store, smtp
from support.dispatcher_shop import Shop
from support.dispatching import automation, dispatching, eventually, local_settings, publish
from support.fake_store import KEY, SECRET
from support.orders import order


@pytest.fixture(autouse=True)
async def _dispatcher(database_url: str, amqp_url: str, name_prefix: str, secret_keys: str) -> AsyncIterator[None]:
    settings = local_settings(
        database_url=database_url, amqp_url=amqp_url, name_prefix=name_prefix, secret_keys=secret_keys
    )
    async with dispatching(settings):
        yield


def fired(shop: Shop, action: str, *, target_id: UUID | None = None, **params: str) -> Automation:
    made = automation(shop.id, target_id, action=action)
    return made.model_copy(update={"action": made.action.model_copy(update={"params": params})})


async def delivery_of(shop: Shop, fired: Automation) -> asyncpg.Record:
    """The row of the automation's delivery, once it is finished."""
    return await eventually(
        lambda: shop.pool.fetchrow(
            "SELECT * FROM dispatcher.deliveries WHERE source_id = $1 AND finished_at IS NOT NULL", fired.id
        )
    )


async def test_a_rules_mail_goes_through_the_stores_own_server_under_the_deliverys_id(
    shop: Shop, broker: Broker, vault: Vault
) -> None:
    async with smtp.running() as mailbox:
        server = {"host": "127.0.0.1", "port": mailbox.port, "security": "none", "user": None, "password": None}
        await stores.save_settings(shop.pool, vault, shop.id, {"smtp": {**server, "sender": "alerts@shop.example"}})
        mail = fired(shop, "send_email", to="owner@shop.example", subject="Look at this", text="A risk ordered.")
        await publish(broker, mail)
        row = await delivery_of(shop, mail)
    assert (row["status"], row["last_status_code"], row["rule_id"]) == ("delivered", 250, mail.rule.id)
    (received,) = mailbox.mails
    assert (received["To"], received["Subject"]) == ("owner@shop.example", "Look at this")
    assert str(row["id"]) in received["Message-ID"]


async def test_a_mail_without_a_server_to_send_it_fails_at_once_and_says_what_to_set(
    shop: Shop, broker: Broker
) -> None:
    await publish(broker, mail := fired(shop, "send_email", to="owner@shop.example", subject="Look"))
    row = await delivery_of(shop, mail)
    assert (row["status"], row["attempts"]) == ("exhausted", 1)
    assert "PATCH /store" in row["last_error"]


async def test_a_rule_holds_and_cancels_orders_in_the_store_and_a_second_time_is_told_in_words(
    shop: Shop, broker: Broker, vault: Vault, tmp_path: Any
) -> None:
    orders = tmp_path / "orders.json"
    orders.write_text(json.dumps([order(id=4821)]))
    async with fake_store.running("--orders", str(orders)) as store:
        await shop.pool.execute("UPDATE api.stores SET url = $2 WHERE id = $1", shop.id, store.url)
        await stores.save_settings(shop.pool, vault, shop.id, {"woocommerce": {"key": KEY, "secret": SECRET}})
        outcomes = []
        for action in ("hold_order", "hold_order", "cancel_order", "cancel_order"):
            await publish(broker, change := fired(shop, action, reason="Too many refunds"))
            row = await delivery_of(shop, change)
            outcomes.append((row["status"], row["attempts"], row["last_error"]))
    assert outcomes == [
        ("delivered", 1, None),
        ("delivered", 1, "already on hold"),
        ("delivered", 1, None),
        ("exhausted", 1, "the order is already cancelled"),
    ]


async def test_a_rules_slack_message_has_its_own_text_and_goes_unsigned_to_its_own_target(
    shop: Shop, broker: Broker
) -> None:
    target_id = await shop.rule_target("/slack", unsigned=True)
    await publish(broker, message := fired(shop, "send_slack", target_id=target_id, text="Look: <!channel>"))
    received = await shop.receiver.next()
    assert received.path == "/slack"
    assert "Look: &lt;!channel&gt;" in json.loads(received.body)["text"]
    assert not [name for name in received.headers if "Signature" in name]
    row = await delivery_of(shop, message)
    assert (row["status"], row["id"], row["rule_id"]) == ("delivered", received.delivery, message.rule.id)


async def test_a_rules_webhook_whose_secret_no_key_opens_is_not_sent_unsigned(
    shop: Shop, broker: Broker, vault: Vault
) -> None:
    target_id = await shop.rule_target("/rule")
    other = Vault(Fernet.generate_key().decode())
    await shop.pool.execute("UPDATE rule_engine.targets SET secret = $1", other.seal(b"a secret of somewhere else"))
    await publish(broker, message := fired(shop, "send_webhook", target_id=target_id))
    row = await delivery_of(shop, message)
    assert (row["status"], row["attempts"], row["last_status_code"]) == ("exhausted", 4, None)
    assert "signing secret" in row["last_error"]
    assert shop.receiver.nothing_more()
