"""Linked accounts: one person behind several e-mail addresses.

The points for one, two and three links are the plugin's published ones; the blocked and critical neighbour is partly
ours. It is judged by its own score, which no link touches, so that two customers never pull each other down for ever.
"""

from collections.abc import Iterable
from typing import Annotated

from scorer.features import Features, Linked
from scorer.modules.settings import Count, Falling, Listed, ModuleSettings
from scorer.signals import MOST_EVIDENCE, Signal, counted, listed
from shared.identity import FINGERPRINT_KINDS, FingerprintKind

LINK_POINTS = (-30, -15, -5)
"""One for each of `link_tiers`; one applies."""
BAD_LINK_POINTS = -10

_NAMES: dict[FingerprintKind, str] = {
    "shipping_address": "a shipping address",
    "billing_address": "a billing address",
    "phone": "a phone number",
    "ip": "an IP address",
    "payment": "a payment card",
    "device": "a device",
}


class Settings(ModuleSettings):
    link_tiers: Annotated[tuple[Count, Count, Count], Listed, Falling] = (3, 2, 1)
    """Linked customers from which they cost points."""


def signals(features: Features, settings: Settings, critical_below: int) -> Iterable[Signal]:
    """`critical_below`: the score under which the store calls a customer Critical."""
    yield from _links(features, settings)
    yield from _bad_links(features, critical_below)
    if features.hub_kinds:
        yield _signal(0, _hubs(features.hub_kinds), ())


def _links(features: Features, settings: Settings) -> Iterable[Signal]:
    for threshold, points in zip(settings.link_tiers, LINK_POINTS, strict=True):
        if features.linked_accounts >= threshold:
            yield _signal(points, _shared(features), features.linked)
            return


def _bad_links(features: Features, critical_below: int) -> Iterable[Signal]:
    bad = [other for other in features.linked if other.is_blocked or _is_critical(other, critical_below)]
    if bad:
        yield _signal(BAD_LINK_POINTS, f"A linked customer is {_bad(bad)}.", bad)


def _is_critical(other: Linked, critical_below: int) -> bool:
    return other.own_score is not None and other.own_score < critical_below


def _bad(others: list[Linked]) -> str:
    blocked = ["blocked"] if any(other.is_blocked for other in others) else []
    critical = [] if all(other.is_blocked for other in others) else ["Critical by its own score"]
    return " or ".join(blocked + critical)


def _shared(features: Features) -> str:
    """All kinds are named, though not every linked customer shares every one."""
    found = {kind for other in features.linked for kind in other.kinds}
    kinds = [_NAMES[kind] for kind in FINGERPRINT_KINDS if kind in found]
    others = counted(features.linked_accounts, "other customer")
    return f"Shares {listed(kinds)} with {others}." if kinds else f"Is linked to {others}."


def _hubs(kinds: tuple[FingerprintKind, ...]) -> str:
    named = listed([_NAMES[kind] for kind in kinds])
    verb = "links" if len(kinds) == 1 else "link"
    return f"{named[0].upper()}{named[1:]} that more than 50 customers share {verb} nobody."


def _signal(points: int, reason: str, others: Iterable[Linked]) -> Signal:
    return Signal("linked_accounts", points, reason, tuple(other.email_hash for other in others)[:MOST_EVIDENCE])
