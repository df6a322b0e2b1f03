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
        "transaction_id": "ch_3Q9",
        "customer_ip_address": "93.184.216.34",
        "billing": {
            "email": "Jane@Example.com",
            "address_1": "Hauptstr. 7",
            "city": "Berlin",
            "postcode": "10115",
            "country": "DE",
            "phone": "030 123456",
        },
        "shipping": {"address_1": "Ring 1", "city": "Wien", "postcode": "1010", "country": "AT"},
        "line_items": [{"id": 1, "product_id": 60, "quantity": 2}, {"id": 2, "product_id": 55, "quantity": 1}],
        "refunds": [],
        "coupon_lines": [],
        "meta_data": [],
    } | changes
