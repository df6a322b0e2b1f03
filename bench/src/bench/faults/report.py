"""What a run came to: how far it is, its result for people and for machines, and for docs/performance.md."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.table import Table

from bench.faults.audit import Explained, Finding, Verdict
from bench.faults.chaos import KILLS, Fault
from bench.faults.ledger import Drain, Ledger


@dataclass(frozen=True, slots=True)
class Run:
    seed: int
    rate: float
    seconds: float
    """Of the load, without what was waited for at the end."""
    settling: float
    """Seconds until nothing was under way any more."""
    faults: Sequence[Fault]
    ledger: Ledger
    verdict: Verdict

    @property
    def good(self) -> bool:
        return not self.verdict.findings

    @property
    def kills(self) -> int:
        return sum(fault.kills for fault in self.faults)


def progress(ledger: Ledger, *, done: Sequence[Fault], now: Sequence[Fault], planned: int) -> str:
    """One line."""
    accepted = sum(posted.accepted for posted in ledger.posted)
    ids = {arrival.delivery for arrival in ledger.arrivals if arrival.taken}
    kills = sum(fault.kills for fault in done)
    going_on = f"; now {', '.join(map(str, now))}" if now else ""
    return (
        f"{len(done)} of {planned} faults ({kills} kills), {accepted:,} of {len(ledger.posted):,} accepted,"
        f" {len(ids):,} deliveries received{going_on}"
    )


def table(run: Run) -> Table:
    shown = Table(box=None, show_header=False)
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True)
    for name, value in figures(run):
        shown.add_row(name, value)
    return shown


def figures(run: Run) -> list[tuple[str, str]]:
    ledger, explained = run.ledger, run.verdict.explained
    return [
        ("seed", str(run.seed)),
        ("load", f"{len(ledger.posted):,} webhooks in {run.seconds:.0f} s, {len(ledger.posted) / run.seconds:.0f}/s"),
        ("then until all was done", f"{run.settling:.0f} s"),
        ("processes killed", str(run.kills)),
        *((f"faults: {kind}", str(count)) for kind, count in _kinds(run.faults)),
        *((f"answered {status}", f"{count:,}") for status, count in sorted(ledger.answers.items())),
        *((f"deliveries {status}", f"{count:,}") for status, count in sorted(run.verdict.statuses.items())),
        *((f"drain of {service}", told) for service, told in drains(ledger.drains)),
        *_may_be(explained),
        ("lost", str(run.verdict.lost)),
        ("unexplained", str(run.verdict.unexplained)),
    ]


def _kinds(faults: Iterable[Fault]) -> list[tuple[str, int]]:
    counts = Counter(fault.kind for fault in faults)
    return sorted(counts.items(), key=lambda pair: (pair[0] not in KILLS, pair[0]))


def drains(drained: Sequence[Drain]) -> list[tuple[str, str]]:
    """Of each service: how often it was asked to stop, and how long that took."""
    seconds: dict[str, list[float]] = {}
    for drain in drained:
        seconds.setdefault(drain.replica.rpartition("-")[0], []).append(drain.seconds)
    return [
        (service, f"{len(took)} times, median {median(took):.1f} s, longest {max(took):.1f} s")
        for service, took in sorted(seconds.items())
    ]


def _may_be(explained: Explained) -> list[tuple[str, str]]:
    return [
        ("requests that repeated a delivery, under its id", f"{explained.repeated:,}"),
        ("deliveries that came after a later one of their customer", f"{explained.overtaken:,}"),
        ("fire and log, failed in an outage of the receiver", f"{explained.failed:,}"),
        ("fire and log, expired", f"{explained.expired:,}"),
        ("left out as repeats within seconds", f"{explained.duplicates:,}"),
    ]


def markdown(run: Run) -> str:
    """A table for docs/performance.md."""
    rows = [f"| {name} | {value} |" for name, value in figures(run)]
    return "\n".join(["| | |", "|---|---|", *rows]) + "\n"


def as_json(run: Run, *, machine: Mapping[str, str], began: str) -> str:
    told: dict[str, Any] = {
        "began": began,
        "machine": dict(machine),
        "seed": run.seed,
        "rate": run.rate,
        "seconds": run.seconds,
        "settling": run.settling,
        "kills": run.kills,
        "faults": [asdict(fault) for fault in run.faults],
        "answers": dict(run.ledger.answers),
        "deliveries": dict(run.verdict.statuses),
        "drains": [asdict(drain) for drain in run.ledger.drains],
        "explained": asdict(run.verdict.explained),
        "findings": [_finding(finding) for finding in run.verdict.findings],
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _finding(finding: Finding) -> Mapping[str, Any]:
    return asdict(finding)
