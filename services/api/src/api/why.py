"""Why a rule did, or did not, fire for one customer: one sentence, and what is known of each event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from shared.jsontext import api_time

LATELY = timedelta(days=30)
"""How far back events are looked for."""
SHOWN = 10
"""Events that are told of at most."""
UNDER_WAY = timedelta(minutes=1)
"""So long the rule engine may take for an event while it has come to later ones: its consumers work side by side."""

A_DAY = timedelta(days=1)
"""What was decided is kept longer than that: of younger events nothing was decided yet."""


@dataclass(frozen=True, slots=True)
class Version:
    """What of a rule's version decides whether it is evaluated."""

    saved_at: datetime
    trigger: str
    mode: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What a rule made of one event, or why it made nothing of it."""

    event_id: UUID
    trigger: str
    at: datetime
    outcome: str
    """fired, skipped, failed, or not_evaluated."""
    reason: str
    version: int | None = None
    """Of the rule, where it was evaluated."""
    values: Mapping[str, object] = field(default_factory=dict)
    actions: Sequence[object] = ()
    """Each with what became of it, as the reader shows it."""


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the customer, of the kind that the rule waits for."""

    id: UUID
    recorded_at: datetime
    evaluated: bool
    """The rule engine has come to it, whichever rules there were."""
    kept: bool
    """What was decided for events of that time is kept still."""


@dataclass(frozen=True, slots=True)
class Case:
    trigger: str
    """What the rule waits for now; the events are of it."""
    mode: str
    versions: Sequence[Version]
    """The oldest first."""
    evaluations: Sequence[Looked]
    """Of this rule and customer, newest first."""
    events: Sequence[Happened]
    """Newest first, LATELY."""
    known: bool
    """There is such a customer."""
    any_event: bool
    """Something of theirs was ever told to rules, as far back as events are kept."""
    reached: datetime | None
    """recorded_at of the newest event of this kind that the rule engine has come to, whosever."""


def explain(case: Case, now: datetime) -> tuple[str, list[Looked]]:
    """The answer in a sentence or two, and the events, newest first."""
    if not case.known:
        return "There is no such customer: nothing of theirs has arrived.", []
    looked = _looked_at(case, now)
    return " ".join([_said(case, looked, now), *_now(case, looked)]), looked


def _looked_at(case: Case, now: datetime) -> list[Looked]:
    decided = {evaluation.event_id for evaluation in case.evaluations}
    others = [
        Looked(event.id, case.trigger, event.recorded_at, "not_evaluated", undecided(case, event, now))
        for event in case.events
        if event.id not in decided
    ]
    return sorted([*case.evaluations, *others], key=lambda event: event.at, reverse=True)[:SHOWN]


def undecided(case: Case, event: Happened, now: datetime) -> str:
    """Why nothing is known of what the rule made of an event."""
    then = [version for version in case.versions if version.saved_at <= event.recorded_at]
    if absence := _absent(then[-1] if then else None, case):
        return absence
    if event.evaluated or _saved_soon_after(case, event):
        return "the rule was being changed then, and was not in force when the rule engine came to it"
    if not event.kept and now - event.recorded_at > A_DAY:
        return "what was decided for events that old is kept no longer, except for firings: it did not fire"
    if case.reached is None or case.reached < event.recorded_at or now - event.recorded_at < UNDER_WAY:
        return "it is still on its way: the rule engine has not come to it"
    return "it was never evaluated, though later ones were: `trustlens dead list` shows what could not be processed"


def _absent(then: Version | None, case: Case) -> str | None:
    """Why the rule, as it was at the time of an event, was not evaluated for it at all."""
    if then is None:
        made = f": it was made at {api_time(case.versions[0].saved_at)}" if case.versions else ""
        return f"the rule did not exist then{made}"
    if then.mode == "off":
        return "the rule was off then"
    return f"the rule waited for {then.trigger} then" if then.trigger != case.trigger else None


def _saved_soon_after(case: Case, event: Happened) -> bool:
    return any(event.recorded_at < version.saved_at < event.recorded_at + UNDER_WAY for version in case.versions)


def _said(case: Case, looked: Sequence[Looked], now: datetime) -> str:
    fired = next((event for event in looked if event.outcome == "fired"), None)
    before = f" It fired last at {api_time(fired.at)}." if fired else ""
    if not looked or looked[0].at <= now - LATELY:
        if not case.any_event:
            return "No event of this customer is kept, and what came as history is not played to rules." + before
        return f"No {case.trigger} of this customer in the last {LATELY.days} days.{before}"
    newest = looked[0]
    when = f"the last {newest.trigger}, at {api_time(newest.at)}"
    match newest.outcome:
        case "fired":
            return f"It fired for {when}: {newest.reason}."
        case "failed":
            return f"It could not be evaluated for {when}: {newest.reason}.{before}"
        case _:
            return f"It did not fire for {when}: {newest.reason}.{before}"


def _now(case: Case, looked: Sequence[Looked]) -> Sequence[str]:
    """What has changed since."""
    match case.mode:
        case "off":
            return () if looked and looked[0].reason == "the rule was off then" else ("The rule is off.",)
        case "shadow":
            return (
                () if looked and looked[0].reason.startswith("shadow") else ("The rule is in shadow: it does nothing.",)
            )
        case _:
            return ()
