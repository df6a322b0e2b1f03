"""Customers in numbers, made up: what scoring is tested with. Valid at NOW."""

from datetime import UTC, datetime, timedelta
from typing import get_args

from hypothesis import strategies as st

from scorer.features import CategoryOrders, CouponOrder, DisputeState, Features, Linked
from scorer.scoring import Scoring
from shared.events import DisputeStatus
from shared.identity import FINGERPRINT_KINDS

NOW = datetime(2026, 6, 5, tzinfo=UTC)
MODULES = (
    "returns",
    "orders",
    "coupons",
    "categories",
    "linked_accounts",
    "shipping_anomalies",
    "chargebacks",
    "card_testing",
    "account_age",
)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def dispute(status: DisputeStatus, name: str = "dp_1") -> DisputeState:
    return DisputeState(name, status)


def coupon_order(order_id: int, *codes: str, once: str | None = None, refunded: bool = False) -> CouponOrder:
    """The higher the id, the later."""
    return CouponOrder(order_id, ago(100 - order_id), codes, (once,) if once else (), refunded)


def scorings(weights: st.SearchStrategy[float] | None = None) -> st.SearchStrategy[Scoring]:
    """With modules switched off and weighed. Without `weights`: any."""
    module = st.fixed_dictionaries(
        {}, optional={"enabled": st.booleans(), "weight": st.floats(0, 3) if weights is None else weights}
    )
    modules = st.fixed_dictionaries({}, optional=dict.fromkeys(MODULES, module))
    settings = st.fixed_dictionaries({"modules": modules}, optional={"min_orders": st.integers(1, 5)})
    return settings.map(Scoring.model_validate)


def times(days: int) -> st.SearchStrategy[datetime]:
    return st.timedeltas(timedelta(0), timedelta(days=days)).map(lambda age: NOW - age)


def ids(most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, 60), unique=True, max_size=most).map(tuple)


coupon_orders = st.lists(
    st.builds(
        CouponOrder,
        order_id=st.integers(1, 60),
        at=times(400),
        codes=st.lists(st.sampled_from(["welcome10", "first", "save5", "ten"]), min_size=1, max_size=4).map(tuple),
        once=st.sampled_from([(), ("ten",)]),
        refunded=st.booleans(),
    ),
    max_size=6,
).map(lambda orders: tuple(sorted(orders, key=lambda order: order.at)))

disputes = st.lists(st.sampled_from(get_args(DisputeStatus)), max_size=6).map(
    lambda statuses: tuple(dispute(status, f"dp_{n}") for n, status in enumerate(statuses))
)

linked = st.lists(
    st.builds(
        Linked,
        email_hash=st.integers(0, 99).map(lambda n: f"{n:064}"),
        kinds=st.lists(st.sampled_from(FINGERPRINT_KINDS), min_size=1, unique=True).map(tuple),
        is_blocked=st.booleans(),
        own_score=st.none() | st.integers(0, 100),
    ),
    max_size=4,
).map(tuple)


@st.composite
def categories(draw: st.DrawFn) -> tuple[CategoryOrders, ...]:
    orders = draw(st.lists(st.integers(3, 12), max_size=4))
    return tuple(CategoryOrders(f"c{n}", f"Category {n}", of, draw(st.integers(0, of))) for n, of in enumerate(orders))


@st.composite
def features(draw: st.DrawFn) -> Features:
    total = draw(st.integers(0, 60))
    refunded = draw(st.integers(0, total))
    refunds = refunded + draw(st.integers(0, 5)) if refunded else 0
    value = draw(st.decimals(0, 5000, places=2))
    others = draw(linked)
    burst = draw(st.none() | times(89))
    recent = draw(st.none() | times(29))
    declines = draw(st.none() | times(40))
    return Features(
        total_orders=total,
        completed_orders=draw(st.integers(0, total)),
        cancelled_orders=draw(st.integers(0, 20)),
        refunded_orders=refunded,
        total_refunds=refunds,
        full_refunds=draw(st.integers(0, refunds)),
        total_order_value=value,
        total_refund_value=draw(st.decimals(0, value, places=2)),
        foreign_orders=draw(st.integers(0, 2)),
        first_completed_at=draw(st.none() | times(800)),
        next_order_at=draw(st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=90)).map(lambda t: NOW + t)),
        most_orders_in_an_hour=draw(st.integers(5, 9)) if burst else draw(st.integers(0, 4)),
        last_burst_at=burst,
        coupon_orders=draw(coupon_orders),
        categories=draw(categories()),
        linked=others,
        linked_accounts=len(others),
        linked_coupon_at=draw(st.none() | times(400)),
        hub_kinds=draw(st.sampled_from([(), ("ip",), ("shipping_address", "device")])),
        recent_addresses=draw(st.integers(1, 6)) if recent else 0,
        oldest_recent_at=recent,
        abroad_ids=draw(ids(2)) if recent else (),
        new_address_ids=draw(ids(3)) if recent else (),
        disputes=draw(disputes),
        last_lockout_at=draw(st.none() | times(40)),
        last_decline_burst_at=declines,
        declines_in_burst=draw(st.integers(3, 5)) if declines else 0,
    )
