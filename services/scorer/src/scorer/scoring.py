"""How a store scores: what it may change, and what holds where it changed nothing."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scorer.modules.account_age import Settings as AccountAge
from scorer.modules.card_testing import Settings as CardTesting
from scorer.modules.categories import Settings as Categories
from scorer.modules.chargebacks import Settings as Chargebacks
from scorer.modules.coupons import Settings as Coupons
from scorer.modules.linked_accounts import Settings as LinkedAccounts
from scorer.modules.orders import Settings as Orders
from scorer.modules.returns import Settings as Returns
from scorer.modules.shipping import Settings as Shipping
from shared.events import LOWEST_SCORES

Lowest = Annotated[int, Field(ge=1, le=100)]


class Segments(BaseModel):
    """The lowest score of each segment; what is below the last is Critical."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    vip: Lowest = LOWEST_SCORES["vip"]
    trusted: Lowest = LOWEST_SCORES["trusted"]
    normal: Lowest = LOWEST_SCORES["normal"]
    caution: Lowest = LOWEST_SCORES["caution"]
    risk: Lowest = LOWEST_SCORES["risk"]

    @model_validator(mode="after")
    def _fall(self) -> Self:
        lowest = (self.vip, self.trusted, self.normal, self.caution, self.risk)
        if any(lower >= higher for higher, lower in pairwise(lowest)):
            raise ValueError("must fall strictly from vip to risk")
        return self


class Modules(BaseModel):
    """In the order of an explanation. The names are those of the signals."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    returns: Returns = Returns()
    orders: Orders = Orders()
    coupons: Coupons = Coupons()
    categories: Categories = Categories()
    linked_accounts: LinkedAccounts = LinkedAccounts()
    shipping_anomalies: Shipping = Shipping()
    chargebacks: Chargebacks = Chargebacks()
    card_testing: CardTesting = CardTesting()
    account_age: AccountAge = AccountAge()


class Scoring(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    min_orders: Annotated[int, Field(ge=1, le=100)] = 3
    """Completed orders below which a customer stays at the base: too little is known."""
    segments: Segments = Segments()
    modules: Modules = Modules()


_DEFAULTS: Mapping[str, Any] = Scoring().model_dump(mode="json")


def merged(stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """What to store after a JSON merge patch (RFC 7396): what differs from the defaults, for Scoring to validate.

    null goes back to the default. Names that Scoring does not know stay, so that it refuses them.
    """
    return _merged(stored, patch, _DEFAULTS)


def _merged(stored: Mapping[str, Any], patch: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(stored)
    for name, value in patch.items():
        default = defaults.get(name)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            value = _merged(_object(stored.get(name)), value, default)  # noqa: PLW2901  # the patch of this part
        if _is_default(name, value, defaults):
            result.pop(name, None)
        else:
            result[name] = value
    return result


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_default(name: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    """Of a part without defaults of its own (weights by category), the store made the names: null removes them."""
    default = defaults.get(name)
    if value is None:
        return name in defaults or not defaults
    if isinstance(default, Mapping):
        return bool(value == {})
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)
