"""An order as wc/v3 writes it."""

from typing import Any


def order(**changes: Any) -> dict[str, Any]:
    return {
        "id": 4821,
        "number": "4821",
        "status": "processing",
        "currency": "EUR",
        "total": "249.00",
        "date_created_gmt": "2026-05-28T16:42:00",
        "date_modified_gmt": "2026-05-28T16:45:00",
        "payment_method": "stripe",
        "billing": {"email": "Jane@Example.com", "country": "DE"},
        "shipping": {"country": "AT"},
        "line_items": [{"id": 1, "quantity": 2}, {"id": 2, "quantity": 1}],
        "refunds": [],
        "coupon_lines": [],
    } | changes
