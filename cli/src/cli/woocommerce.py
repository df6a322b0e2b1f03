"""How a WooCommerce store signs and labels a webhook."""

import base64
import hashlib
import hmac


def sign(body: bytes, secret: str) -> str:
    """X-WC-Webhook-Signature: base64 of the HMAC-SHA256 of the raw body."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def headers(
    body: bytes, *, topic: str, secret: str, source: str, delivery_id: str, webhook_id: int = 1
) -> dict[str, str]:
    """The headers of one delivery, as the store's webhook number `webhook_id` would send it."""
    resource, _, event = topic.partition(".")
    return {
        "Content-Type": "application/json",
        "User-Agent": "WooCommerce/10.3.4 Hookshot (WordPress/6.8.3)",
        "X-WC-Webhook-Source": source,
        "X-WC-Webhook-Topic": topic,
        "X-WC-Webhook-Resource": resource,
        "X-WC-Webhook-Event": event,
        "X-WC-Webhook-Signature": sign(body, secret),
        "X-WC-Webhook-ID": str(webhook_id),
        "X-WC-Webhook-Delivery-ID": delivery_id,
    }


def delivery_id(number: int, body: bytes) -> str:
    """The same for the same line of the same file, so that a line sent twice is one delivery to the receiver."""
    return hashlib.sha256(b"%d:%s" % (number, body)).hexdigest()[:32]
