"""Why a customer has this score, laid out for people: the sum line by line, and how the score got here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from cli.answers import Customer, Scored, Signal

BASE = 50
LOWEST, HIGHEST = 0, 100
SHOWN_EVIDENCE = 5
MOST_EVIDENCE = 20
"""As many ids as the scorer keeps with a signal: there may be more."""
SHOWN_CHANGES = 5
HASH_LENGTH, SHOWN_HASH = 64, 12
_BARS = "▁▂▃▄▅▆▇█"
_CAUSES = {
    "fact": "the store's data",
    "history": "the store's old data",
    "command": "somebody asked",
    "rule": "a rule",
    "link": "a linked customer",
    "moved": "an order changed hands",
    "sweep": "time alone",
    "settings": "new settings",
    "categories": "new categories",
    "coupons": "a coupon's limit",
}
_STYLES = {"vip": "green", "trusted": "green", "caution": "yellow", "risk": "red", "critical": "bold red"}


def explanation(email: str, customer: Customer, history: Sequence[Scored], *, whole: bool) -> RenderableType:
    """Everything `trustlens explain` prints; `history` newest first, `whole` if nothing older was left out.

    `email` is what the user typed: no other address is shown, and linked customers appear as short hashes.
    """
    return Group(heading(email, customer), Text(), *_sum(customer), *_trend(history, whole=whole))


def heading(email: str, customer: Customer) -> Text:
    text = Text(f"{plain(email)}\n", style="bold")
    text.append(f"{customer.trust_score} {customer.segment_label}", style=_STYLES.get(customer.segment, ""))
    facts = [
        f" · {counted(customer.total_orders, 'order')}",
        f"{counted(customer.total_refunds, 'refund')}, {customer.return_rate} % of orders",
        *([counted(customer.total_disputes, "dispute")] if customer.total_disputes else []),
        *(["blocked"] if customer.is_blocked else []),
        *(["allowlisted"] if customer.is_allowlisted else []),
        f"customer {customer.email_hash[:SHOWN_HASH]}",
    ]
    return text.append(" · ".join(facts), style="not bold")


def _sum(customer: Customer) -> Iterable[RenderableType]:
    if customer.is_allowlisted:
        yield Text("Allowlisted: the score is 100 and the segment VIP, and no signal counts until that is taken back.")
        return
    yield sum_table(customer)
    yield Text(f"\n= {sum_in_words(total(customer.signals))}", style="bold")
    if any(signal.module == "system" for signal in customer.signals):
        yield Text("\nToo little is known: until enough orders are completed, only chargebacks and card testing count.")
    if kept(total(customer.signals)) != customer.trust_score:
        yield Text(
            f"\nThis does not add up to the stored {customer.trust_score}: `trustlens recompute` sets it right.",
            style="red",
        )


def sum_table(customer: Customer) -> Table:
    table = Table.grid(Column(justify="right", no_wrap=True), Column(no_wrap=True), Column(), padding=(0, 2))
    table.add_row(str(BASE), "base", Text("Where everybody starts.", style="dim"))
    for signal in customer.signals:
        table.add_row(f"{signal.points:+d}", Text(plain(signal.module)), Text(plain(signal.reason)))
        if signal.evidence:
            table.add_row("", "", Text(evidence(signal.evidence), style="dim"))
    return table


def total(signals: Iterable[Signal]) -> int:
    """The sum before it is kept within 0 and 100."""
    return BASE + sum(signal.points for signal in signals)


def kept(value: int) -> int:
    return max(LOWEST, min(HIGHEST, value))


def sum_in_words(value: int) -> str:
    """The sum, and the clamp where it bites."""
    return str(value) if kept(value) == value else f"{value}, kept at {kept(value)}"


def evidence(ids: Sequence[int | str]) -> str:
    """The first few ids by what they are; hashes of customers are shortened."""
    kinds = {
        "order": [str(it) for it in ids if isinstance(it, int)],
        "customer": [it[:SHOWN_HASH] for it in ids if isinstance(it, str) and _is_hash(it)],
        "dispute": [plain(it) for it in ids if isinstance(it, str) and not _is_hash(it)],
    }
    return "; ".join(_listed(kind, found) for kind, found in kinds.items() if found)


def _is_hash(text: str) -> bool:
    return len(text) == HASH_LENGTH and all(char in "0123456789abcdef" for char in text)


def _listed(kind: str, ids: Sequence[str]) -> str:
    more = len(ids) - SHOWN_EVIDENCE
    at_least = "at least " if len(ids) >= MOST_EVIDENCE else ""
    shown = ", ".join(ids[:SHOWN_EVIDENCE]) + (f" and {at_least}{more} more" if more > 0 else "")
    return f"{kind if len(ids) == 1 else kind + 's'} {shown}"


def _trend(history: Sequence[Scored], *, whole: bool) -> Iterable[RenderableType]:
    if not history:
        return
    scores = [entry.trust_score for entry in reversed(history)]
    trend = f"Trend  {sparkline(scores)}  from {scores[0]} to {scores[-1]} since {plain(history[-1].at[:10])}\n"
    yield Text(f"\n{trend}" if len(scores) > 1 else "")
    table = Table.grid(padding=(0, 2))
    for change in changes(history, whole=whole)[:SHOWN_CHANGES]:
        table.add_row(
            Text(plain(change.at[:16])), change.movement, Text(plain(change.moved)), Text(plain(change.cause))
        )
    yield table


def sparkline(scores: Sequence[int]) -> str:
    """One bar for each score, its height from 0 to 100."""
    return "".join(_BARS[kept(score) * len(_BARS) // (HIGHEST + 1)] for score in scores)


@dataclass(frozen=True, slots=True)
class Moved:
    """One step of the history, in words."""

    at: str
    movement: str
    moved: str
    cause: str


def changes(history: Sequence[Scored], *, whole: bool) -> list[Moved]:
    """The steps of a history, newest first; its oldest entry is the first score if the history is `whole`."""
    steps = [
        Moved(
            newer.at,
            f"{older.trust_score} → {newer.trust_score}",
            moved_modules(older, newer),
            _CAUSES.get(newer.cause, newer.cause),
        )
        for newer, older in pairwise(history)
    ]
    if history and whole:
        first = history[-1]
        steps.append(Moved(first.at, str(first.trust_score), "first score", _CAUSES.get(first.cause, first.cause)))
    return steps


def moved_modules(older: Scored, newer: Scored) -> str:
    """By how much each module moved the sum, the most first. Allowlisted, a score is no sum."""
    if _allowlisted(newer):
        return "allowlisted"
    if _allowlisted(older):
        return "allowlist removed"
    moves = {
        module: newer.points.get(module, 0) - older.points.get(module, 0)
        for module in dict.fromkeys([*newer.points, *older.points])
    }
    return ", ".join(f"{module} {by:+d}" for module, by in _by_size(moves) if by) or "the segment alone"


def _allowlisted(entry: Scored) -> bool:
    return entry.trust_score == HIGHEST and sum(entry.points.values()) < HIGHEST


def _by_size(moves: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(moves.items(), key=lambda move: (-abs(move[1]), move[0]))


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain(text: str) -> str:
    """Without control characters: what a store sent must not get to drive the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
