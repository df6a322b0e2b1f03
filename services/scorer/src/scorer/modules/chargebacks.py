"""Chargebacks: disputes that the customer's bank raised. A won one costs nothing: its points come back.

All points are our choice: a lost dispute weighs as much as the worst return rate, an open one half of it, and an
inquiry, where no money has moved, little. The floor keeps one bad week from outweighing years.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from scorer.features import DisputeState, Features
from scorer.modules.settings import ModuleSettings
from scorer.signals import MOST_EVIDENCE, Signal, capped, counted
from shared.events import DisputeStatus

POINTS: dict[DisputeStatus, int] = {"lost": -40, "open": -20, "under_review": -20, "warning": -5}
"""For each dispute; the worst first."""
LOWEST = -60
"""All disputes together."""


class Settings(ModuleSettings):
    pass


@dataclass(frozen=True, slots=True)
class DisputeCounts:
    """Inquiries are in none of them."""

    total: int
    won: int
    lost: int


def signals(features: Features, settings: Settings, *, inquiries: bool = True) -> Iterable[Signal]:
    """One for each status that costs points. Without inquiries: what counts even under the gate."""
    statuses = (status for status in POINTS if inquiries or status != "warning")
    found = (signal for status in statuses for signal in _of(status, features))
    return capped(found, LOWEST, "disputes", settings.weight)


def counts(features: Features) -> DisputeCounts:
    statuses = [dispute.status for dispute in features.disputes]
    return DisputeCounts(
        total=len(statuses) - statuses.count("warning"), won=statuses.count("won"), lost=statuses.count("lost")
    )


def _of(status: DisputeStatus, features: Features) -> Iterable[Signal]:
    found = [dispute for dispute in features.disputes if dispute.status == status]
    if found:
        yield Signal("chargebacks", POINTS[status] * len(found), _reason(status, len(found)), _latest(found))


def _latest(disputes: list[DisputeState]) -> tuple[str, ...]:
    return tuple(dispute.id for dispute in reversed(disputes[-MOST_EVIDENCE:]))


def _reason(status: DisputeStatus, number: int) -> str:
    if status == "warning":
        return f"The bank asked about {counted(number, 'payment')}."
    if status == "lost":
        return f"{counted(number, 'chargeback')} {'was' if number == 1 else 'were'} lost."
    told = "open" if status == "open" else "under review"
    return f"{counted(number, 'chargeback')} {'is' if number == 1 else 'are'} {told}."
