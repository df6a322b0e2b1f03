"""The wc/v3 order as a WooCommerce webhook carries it: totals are strings, times come without an offset."""

from typing import Any, Literal, NamedTuple, TypedDict

Topic = Literal["order.created", "order.updated"]
Status = Literal["pending", "on-hold", "processing", "completed", "cancelled", "refunded", "failed"]


class Address(TypedDict):
    first_name: str
    last_name: str
    company: str
    address_1: str
    address_2: str
    city: str
    state: str
    postcode: str
    country: str
    phone: str


class Billing(Address):
    email: str


class MetaData(TypedDict):
    id: int
    key: str
    value: Any  # plugins store strings, numbers, lists and objects here


class LineItem(TypedDict):
    id: int
    name: str
    product_id: int
    variation_id: int
    quantity: int
    tax_class: str
    subtotal: str
    total: str
    total_tax: str
    sku: str
    price: float  # the one amount that WooCommerce sends as a number


class ShippingLine(TypedDict):
    id: int
    method_title: str
    method_id: str
    total: str


class CouponLine(TypedDict):
    id: int
    code: str
    discount: str


class Refund(TypedDict):
    id: int
    reason: str
    total: str  # negative


class Order(TypedDict):
    id: int
    parent_id: int
    number: str
    order_key: str
    created_via: str
    version: str
    status: Status
    currency: str
    prices_include_tax: bool
    date_created: str
    date_created_gmt: str
    date_modified: str
    date_modified_gmt: str
    date_paid: str | None
    date_paid_gmt: str | None
    date_completed: str | None
    date_completed_gmt: str | None
    discount_total: str
    shipping_total: str
    total: str
    total_tax: str
    customer_id: int
    customer_ip_address: str
    customer_user_agent: str
    customer_note: str
    billing: Billing
    shipping: Address
    payment_method: str
    payment_method_title: str
    transaction_id: str
    cart_hash: str
    meta_data: list[MetaData]
    line_items: list[LineItem]
    shipping_lines: list[ShippingLine]
    coupon_lines: list[CouponLine]
    refunds: list[Refund]


class ShopEvent(NamedTuple):
    """One webhook that the shop sends."""

    topic: Topic
    order: Order
