"""The gate in front of a store's checkout: may this submission of the form go on to its payment?

Decided in this order: freeze, lockout, velocity; then the blocked customer, then coupons. How the numbers are kept is
in `api.store.gate`; here is what they mean.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
)

from api.values import Line, printable
from shared.egress import Network
from shared.events import DenyReason, Segment
from shared.identity import fingerprint

WINDOW = timedelta(seconds=60)
"""Rolling, over a device's submissions and declines: the plugin's."""
ESCALATION_WINDOW = timedelta(minutes=10)
ESCALATION_DEVICES = 3
"""Distinct devices locked out within the window from which it is an attack on the whole shop: the plugin's."""
WORLDWIDE = 10
"""Countries of the window's declines from which they are a sale's crowd and no attack, unless one has half of them."""


def _network(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a network like 203.0.113.0/24")  # noqa: TRY004  # pydantic names a ValueError's field
    try:
        return str(ip_network(value.strip(), strict=False))
    except ValueError:
        raise ValueError("must be a network like 203.0.113.0/24") from None


_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}([.]{_OCTET}){{3}}(/(3[0-2]|[12]?[0-9]))?"
_IPV6 = "([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?"
_NETWORK = WithJsonSchema(
    {
        "type": "string",
        "pattern": f"^({_IPV4}|{_IPV6})$",
        "description": "A CIDR. One of IPv6 may also be shortened, as 2001:db8::/32.",
    },
    mode="validation",
)


def whole(value: Any) -> Any:
    """Pydantic would read true as 1, and "10" as 10."""
    if isinstance(value, bool | str):
        raise ValueError("must be an integer")  # noqa: TRY004  # as in _network
    return value


_Listed = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(printable),
    Line(200),
]
_Whole = Annotated[int, BeforeValidator(whole)]


class GateSettings(BaseModel):
    """How a store's gate decides, with what it does where nothing else is said."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    card_testing: StrictBool = True
    """Whether devices are locked out and the checkout may be frozen; blocked customers are refused in any case."""
    submissions: Annotated[_Whole, Field(ge=2, le=100)] = 10
    """Of the checkout form that a device may make within 60 seconds; one more locks it out."""
    declines: Annotated[_Whole, Field(ge=1, le=100)] = 3
    """Declined payments of a device within 60 seconds that lock it out."""
    lockout_seconds: Annotated[_Whole, Field(ge=10, le=86_400)] = 60
    freeze_minutes: Annotated[_Whole, Field(ge=1, le=1440)] = 15
    """Of a freeze that says nothing else."""
    escalation: StrictBool = True
    """Whether three devices locked out within ten minutes freeze the checkout."""
    bypass: StrictBool = True
    """Whether VIPs and allowlisted customers are let through freezes and lockouts."""
    allow_fingerprints: Annotated[tuple[_Listed, ...], Field(max_length=100)] = ()
    """Devices that are never counted: as the store names them, or as /checkout/attacks does."""
    allow_networks: Annotated[
        tuple[Annotated[str, BeforeValidator(_network), _NETWORK], ...], Field(max_length=100)
    ] = ()
    """Networks (CIDRs) whose devices are never counted: the shop's own tills, say."""
    refuse_coupon_abuse: StrictBool = False
    """Whether a first-order coupon is refused where a linked customer has used one."""
    first_order_coupons: Annotated[tuple[_Listed, ...], Field(max_length=20)] = ("welcome*", "first*")
    """Globs of their codes, in either case. Codes that each customer may use once only are always such."""
    message: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=300),
        AfterValidator(printable),
        Line(300),
    ] = "We cannot take your order just now. Please try again later, or contact us."
    """To the shopper, whatever the reason: it tells nobody what to change."""

    @property
    def lockout(self) -> timedelta:
        return timedelta(seconds=self.lockout_seconds)

    @property
    def freeze(self) -> timedelta:
        return timedelta(minutes=self.freeze_minutes)


@dataclass(frozen=True, slots=True)
class Gate:
    """A store's, as it is set."""

    settings: GateSettings
    enforce_blocking: bool


@dataclass(frozen=True, slots=True)
class Device:
    """What a device had done before this submission."""

    submissions: Sequence[datetime] = ()
    """The latest, as many as it may make within the window."""
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Shopper:
    is_blocked: bool = False
    is_allowlisted: bool = False
    segment: Segment = "normal"


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when the form is submitted."""

    device: Device = Device()
    """An exempt one has done nothing."""
    is_exempt: bool = False
    """Its fingerprint or network is on the store's list."""
    frozen_until: datetime | None = None
    shopper: Shopper = Shopper()
    is_coupon_abuse: bool = False
    """A first-order coupon is given, a linked customer has used one, and the store wants to know."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Nothing is the matter, unless there is a reason."""

    reason: DenyReason | None = None
    """Why it is refused; with `enforced` false, why it would be."""
    enforced: bool = True

    @property
    def decision(self) -> Literal["allow", "deny"]:
        return "deny" if self.reason and self.enforced else "allow"

    @property
    def would_deny(self) -> bool:
        """Let through, but only because the store does not enforce blocking."""
        return self.reason is not None and not self.enforced


def decide(situation: Situation, gate: Gate, now: datetime) -> Verdict:
    if reason := _card_testing(situation, gate.settings, now):
        return Verdict(reason)
    if situation.shopper.is_blocked:
        return Verdict("customer_blocked", enforced=gate.enforce_blocking)
    if situation.is_coupon_abuse and not is_trusted(situation.shopper, gate.settings):
        return Verdict("coupon_abuse")
    return Verdict()


def _card_testing(situation: Situation, settings: GateSettings, now: datetime) -> DenyReason | None:
    if not settings.card_testing or situation.is_exempt or is_trusted(situation.shopper, settings):
        return None
    if situation.frozen_until and now < situation.frozen_until:
        return "freeze"
    if situation.device.locked_until and now < situation.device.locked_until:
        return "lockout"
    if is_too_fast(situation.device, settings, now):
        return "velocity"
    return None


def is_too_fast(device: Device, settings: GateSettings, now: datetime) -> bool:
    """Whether it has used up the window's submissions; the upsert that counts them locks it out by the same rule."""
    return sum(at > now - WINDOW for at in device.submissions) >= settings.submissions


def locks_out(device: Device, settings: GateSettings, now: datetime) -> bool:
    """Whether this submission began a lockout, whoever made it."""
    locked = device.locked_until is not None and now < device.locked_until
    return not locked and is_too_fast(device, settings, now)


def is_trusted(shopper: Shopper, settings: GateSettings) -> bool:
    return settings.bypass and (shopper.is_allowlisted or shopper.segment == "vip")


@dataclass(frozen=True, slots=True)
class Coupons:
    """Those of a form that are to be looked into. None, where the store does not want to know."""

    codes: tuple[str, ...] = ()
    """As the scorer has learnt them from the store: lower case."""
    is_first_order: bool = False
    """Whether one of them is for new customers by its code alone."""


def coupons_of(codes: Iterable[str], settings: GateSettings) -> Coupons:
    if not settings.refuse_coupon_abuse:
        return Coupons()
    plain = tuple(code.strip().lower() for code in codes)
    patterns = [pattern.lower() for pattern in settings.first_order_coupons]
    return Coupons(plain, any(fnmatchcase(code, pattern) for code in plain for pattern in patterns))


# Devices --------------------------------------------------------------------------------------------------------------


def device_of(key: bytes, *, given: str, ip: str, user_agent: str) -> bytes | None:
    """The given fingerprint, else one made of address and browser; None where neither is known. `key` is the store's.

    A given one is the same as that of orders and declines: what links customers. One that is made links nobody.
    """
    if given.strip():
        return bytes.fromhex(fingerprint(key, "device", given.strip()))
    return bytes.fromhex(fingerprint(key, "device", f"\0{_line(ip)}\0{user_agent}")) if ip else None


def _line(ip: str) -> str:
    """Of IPv6 the first 64 bits: a line has at least these, and its owner a new address for every try."""
    address = ip_address(ip)
    return ip if address.version == 4 else str(ip_network((address, 64), strict=False))


def address_of(key: bytes, ip: str) -> bytes | None:
    """For declines that are told without a browser: they count against whatever comes from that address."""
    return device_of(key, given="", ip=ip, user_agent="")


def is_exempt(
    settings: GateSettings, *, given: str, device: bytes | None, ip: IPv4Address | IPv6Address | None
) -> bool:
    names = {given.strip(), device.hex() if device else ""} - {""}
    if not names.isdisjoint(settings.allow_fingerprints):
        return True
    return ip is not None and any(ip in network for network in _networks(settings))


def _networks(settings: GateSettings) -> Iterable[Network]:
    return map(ip_network, settings.allow_networks)


# Escalation -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attack:
    """The last ten minutes of a store, or what of them came after its latest freeze."""

    locked_devices: int
    """Distinct."""
    declines: Mapping[str, int]
    """By country, as far as it is known."""


def should_freeze(attack: Attack, settings: GateSettings) -> bool:
    """Three devices locked out; but not where the declines are spread over the world, as a great sale's are."""
    enough = attack.locked_devices >= ESCALATION_DEVICES
    return settings.card_testing and settings.escalation and enough and not _is_worldwide(attack.declines)


def _is_worldwide(declines: Mapping[str, int]) -> bool:
    return len(declines) >= WORLDWIDE and 2 * max(declines.values()) < sum(declines.values())
