"""The shapes of the checkout's requests and answers. What is wrong with one field is told by its name."""

import re
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from api.gate import whole
from api.ingest import fingerprints
from api.values import Moment, printable
from shared.events import DenyReason
from shared.identity import normalise_email

MAX_EMAIL = 320
"""Characters looked at: an address in Unicode may be longer than its normal form."""
MAX_USER_AGENT = 2000


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def _nothing_is_empty(value: Any) -> Any:
    return "" if value is None else value


def _described(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": ["string", "null"], **schema}, mode="validation")


def _one_of(*formats: str) -> WithJsonSchema:
    """Or nothing: null, or an empty text."""
    given = [{"type": "string", "format": name} for name in formats]
    return WithJsonSchema({"anyOf": [*given, {"type": "string", "maxLength": 0}, {"type": "null"}]}, mode="validation")


def _email(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_EMAIL:
        raise ValueError("is not an e-mail address")
    return normalise_email(value)


def _ip(value: Any) -> str:
    """Normalised: an IPv4 address in IPv6 clothes is itself."""
    if value is None or value == "":
        return ""
    found = fingerprints.parsed_ip(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("is not an IP address")
    return str(found)


def _amount(value: Any) -> Decimal | None:
    """A decimal string as WooCommerce writes it, or a number."""
    if value is None or value == "":
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_AMOUNT:
        return abs(Decimal(str(value)))  # -0.0 becomes 0.0
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    raise ValueError("must be a decimal number from 0, with at most 15 digits before the point")


MAX_AMOUNT = 10**15
_DECIMAL = re.compile(r"[0-9]{1,15}([.][0-9]{1,20})?")

Email = Annotated[str | None, BeforeValidator(_email), _one_of("email")]
Ip = Annotated[
    str,
    BeforeValidator(_ip),
    _one_of("ipv4", "ipv6"),
]
Amount = Annotated[
    Decimal | None,
    BeforeValidator(_amount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^({_DECIMAL.pattern})?$"},
                {"type": "number", "minimum": 0, "exclusiveMaximum": MAX_AMOUNT},
                {"type": "null"},
            ]
        },
        mode="validation",
    ),
]


_Text = Annotated[str, BeforeValidator(_nothing_is_empty)]
ShortText = Annotated[_Text, Field(max_length=200), _described(maxLength=200)]
UserAgent = Annotated[_Text, Field(max_length=MAX_USER_AGENT), _described(maxLength=MAX_USER_AGENT)]
_CURRENCY, _COUNTRY = "^([A-Za-z]{3})?$", "^([A-Za-z]{2})?$"
Currency = Annotated[_Text, Field(pattern=_CURRENCY), AfterValidator(str.upper), _described(pattern=_CURRENCY)]
Country = Annotated[_Text, Field(pattern=_COUNTRY), AfterValidator(str.upper), _described(pattern=_COUNTRY)]
CouponCode = Annotated[str, Field(max_length=200)]


class _Shopper(_Given):
    email: Email = None
    ip: Ip = ""
    fingerprint: ShortText = ""
    """Of the device, where the store knows one; otherwise one is made of ip and user_agent."""
    user_agent: UserAgent = ""

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        return fingerprints.parsed_ip(self.ip) if self.ip else None

    def fingerprints(self, key: bytes) -> tuple[str, ...]:
        """What links customers: not what is made of address and browser, which would count the address as two kinds."""
        return fingerprints.hashed(
            key, {"ip": fingerprints.ip(self.ip), "device": fingerprints.device(self.fingerprint)}
        )


class Submission(_Shopper):
    """The checkout's form, as the shopper submits it."""

    amount: Amount = None
    currency: Currency = ""
    coupons: Annotated[tuple[CouponCode, ...], Field(max_length=50)] = ()
    """Codes."""


class DeclinedPayment(_Shopper):
    country: Country = ""
    """Of the shopper."""
    code: ShortText = ""
    """Why the payment was declined, in the provider's words."""


class Authorization(_Answer):
    decision: Literal["allow", "deny"]
    reason: DenyReason | None
    """Why it is refused; with `would_deny`, why it would be."""
    message: str
    """To the shopper; empty where the decision is allow."""
    would_deny: bool
    """It is allowed only because the store does not enforce blocking."""
    degraded: bool
    """The database did not answer in time: the gate lets everybody through rather than nobody."""


class DeclineTaken(_Answer):
    locked_until: Moment | None
    """The device is locked out until then."""


_PRINTABLE = WithJsonSchema(
    {"type": "string", "maxLength": 500, "pattern": r"^(?:[^\p{C}\p{Z}]| )*$"}, mode="validation"
)


class FreezeGiven(_Given):
    minutes: Annotated[int, Field(ge=1, le=1440), BeforeValidator(whole)] | None = None
    """As the store's settings say, unless given."""
    reason: Annotated[str, Field(max_length=500), AfterValidator(printable), _PRINTABLE] = ""


class FreezeShown(_Answer):
    frozen: bool
    frozen_at: Moment | None = None
    frozen_until: Moment | None = None
    reason: str | None = None
    by: str | None = None
    """`key:<prefix>`, or `escalation`."""


class AttackListing(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    hours: Annotated[int, Field(ge=1, le=720)] = 24
    """How far back."""


class AttackHour(_Answer):
    hour: Moment
    declined: int
    """Payments."""
    refused: int
    """Submissions, for card testing or as a blocked customer's."""
    lockouts: int


class Named(_Answer):
    name: str
    """Empty: it was not told."""
    count: int


class AttackDevice(_Answer):
    fingerprint: str
    """As `allow_fingerprints` takes it."""
    declined: int
    refused: int
    lockouts: int
    last_at: Moment


class Lockout(_Answer):
    at: Moment
    fingerprint: str | None
    reason: str
    """declines or velocity; of a freeze, in words."""


class Attacks(_Answer):
    since: Moment
    frozen_until: Moment | None
    """Null: the checkout is not frozen."""
    hours: list[AttackHour]
    """Those in which something happened, the newest first."""
    reasons: list[Named]
    """Of refusals."""
    codes: list[Named]
    """Of declines, the twenty most frequent."""
    countries: list[Named]
    """Likewise."""
    fingerprints: list[AttackDevice]
    """The twenty that did most."""
    lockouts: list[Lockout]
    """The newest hundred."""
    freezes: list[Lockout]
