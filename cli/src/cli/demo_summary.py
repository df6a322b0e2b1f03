"""What the demo found, judged and printed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.demo_numbers import REPEATS, Numbers, Suspect
from cli.latency import percentile
from cli.posting import Result
from cli.receiver import Received

SEGMENTS = ("vip", "trusted", "normal", "caution", "risk", "critical")


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the summary is made of."""

    posted: Counter[Result]
    first_rejection: str
    posting_seconds: float
    numbers: Numbers
    received: Sequence[Received]
    latencies: Sequence[float]
    balanced: bool

    @property
    def verified_ids(self) -> frozenset[str]:
        return frozenset(received.delivery_id for received in self.received if received.verified)


def complaints(findings: Findings) -> list[str]:
    """Why the demo failed, in words; empty if it did not."""
    deliveries = findings.numbers.deliveries
    rejected = findings.posted[Result.REJECTED]
    missing = len(findings.numbers.delivered_ids - findings.verified_ids)
    unverified = sum(not received.verified for received in findings.received)
    found = {
        "The books do not balance.": not findings.balanced,
        f"{rejected} events were rejected, the first with {findings.first_rejection}": rejected,
        "Nothing was delivered.": not findings.numbers.delivered_ids,
        f"{missing} delivered webhooks did not arrive verified.": missing,
        f"{unverified} requests arrived that do not verify.": unverified,
        f"{findings.numbers.unfinished} deliveries were not finished in time.": findings.numbers.unfinished,
        f"{deliveries['failed']} deliveries failed.": deliveries["failed"],
        f"{deliveries['exhausted']} deliveries ran out of attempts.": deliveries["exhausted"],
        f"{deliveries['suppressed']} deliveries were not sent at all.": deliveries["suppressed"],
    }
    return [complaint for complaint, applies in found.items() if applies]


def print_findings(findings: Findings, console: Console) -> None:
    console.print(_overview(findings))
    console.print(_segments(findings.numbers.segments))
    console.print(_lowest(findings.numbers.lowest))


def _overview(findings: Findings) -> Table:
    table = Table.grid(padding=(0, 2))
    deliveries, latencies = findings.numbers.deliveries, findings.latencies
    accepted = findings.posted[Result.ACCEPTED]
    events = Counter(received.event for received in findings.received)
    table.add_row("events accepted", f"{accepted:,} in {findings.posting_seconds:.1f} s")
    table.add_row("deliveries sent", f"{deliveries['delivered'] + deliveries['failed'] + deliveries['exhausted']:,}")
    for event, number in events.most_common():
        table.add_row(f"  {event}", f"{number:,}")
    table.add_row("  verified", f"{len(findings.verified_ids):,}")
    table.add_row("  failed", f"{deliveries['failed'] + deliveries['exhausted']:,}")
    table.add_row("  suppressed", f"{deliveries['suppressed']:,}")
    table.add_row("left out as repeats", f"{deliveries[REPEATS]:,}")
    table.add_row("order to POST", ", ".join(f"p{percent} {_seconds(latencies, percent)}" for percent in (50, 95, 99)))
    return table


def _seconds(latencies: Sequence[float], percent: float) -> str:
    value = percentile(latencies, percent)
    return "-" if value is None else f"{value * 1000:,.0f} ms"


def _segments(segments: Counter[str]) -> Table:
    table = Table(title="Customers per segment", title_justify="left")
    for segment in SEGMENTS:
        table.add_column(segment.upper() if segment == "vip" else segment.capitalize(), justify="right")
    table.add_row(*(f"{segments[segment]:,}" for segment in SEGMENTS))
    return table


def _lowest(suspects: Sequence[Suspect]) -> Table:
    table = Table("Customer", "Score", "Because", title="The lowest scores", title_justify="left")
    for suspect in suspects:
        reasons = "\n".join(f"{signal.points:+d}  {escape(signal.reason)}" for signal in suspect.signals)
        table.add_row(escape(suspect.email), f"{suspect.score} {suspect.segment}", reasons)
    return table
