"""What was measured: figures, the bounds they must keep, a table for people and JSON for machines.

`python -m bench.report FILE…` makes the tables of docs/performance.md, and those of docs/scaling.md, from such JSON.
Of a scenario that several files have, the last one's is shown; so a file of a few scenarios, measured again, is named
after the one of all.
"""

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from bench import capacity
from local_stack.folder import CHECKOUT

DOCUMENTS = CHECKOUT / "docs"
BEGIN, END = "<!-- made by python -m bench.report: begin -->\n", "<!-- made by python -m bench.report: end -->\n"


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure must keep, or the bench fails."""

    kind: Literal["at least", "at most"]
    limit: float

    def kept_by(self, value: float) -> bool:
        return value >= self.limit if self.kind == "at least" else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.kind == 'at least' else '≤'} {self.limit:,.6g}"


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: float
    unit: str
    bound: Bound | None = None

    @property
    def missed(self) -> bool:
        return self.bound is not None and not self.bound.kept_by(self.value)


@dataclass(frozen=True, slots=True)
class Result:
    """Of one scenario."""

    scenario: str
    figures: Sequence[Figure]
    notes: Sequence[str] = ()
    """Sentences to print under the table: offenders, what was left out."""
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """What was measured again and again, for the JSON only."""
    seconds: float = 0
    """How long it took to measure."""

    @property
    def missed(self) -> list[Figure]:
        return [figure for figure in self.figures if figure.missed]


def machine(postgres: str, rabbitmq: str) -> dict[str, str]:
    """Where these figures come from; versions as the servers told them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{memory:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "postgres": postgres,
        "rabbitmq": rabbitmq,
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(results: Iterable[Result]) -> Table:
    shown = Table("scenario", "figure", box=None)
    shown.add_column("value", justify="right")
    shown.add_column("")
    shown.add_column("bound")
    for result in results:
        for place, figure in enumerate(result.figures):
            mark = "" if figure.bound is None else f"[{'red' if figure.missed else 'green'}]{figure.bound}"
            name = result.scenario if place == 0 else ""
            shown.add_row(name, figure.name, written(figure.value), figure.unit, mark)
    return shown


def written(value: float) -> str:
    """Whole above a hundred, else three digits: no more than was measured."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def as_json(results: Iterable[Result], *, where: Mapping[str, str], began: datetime, sizes: Mapping[str, float]) -> str:
    told: dict[str, Any] = {
        "began": began.isoformat(timespec="seconds"),
        "machine": dict(where),
        "sizes": dict(sizes),
        "results": [
            {
                "scenario": result.scenario,
                "seconds": round(result.seconds),
                "figures": [asdict(figure) | {"missed": figure.missed} for figure in result.figures],
                "notes": list(result.notes),
                "series": {name: list(values) for name, values in result.series.items()},
            }
            for result in results
        ],
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


# The document ---------------------------------------------------------------------------------------------------------


def markdown(runs: Sequence[Mapping[str, Any]]) -> str:
    """A table for each of the runs that has something to show, in their order; later runs replace what earlier told."""
    latest = {result["scenario"]: number for number, run in enumerate(runs) for result in run["results"]}
    parts = []
    for number, run in enumerate(runs):
        results = [result for result in run["results"] if latest[result["scenario"]] == number]
        if results:
            parts.append("\n".join((_where(run), "", *_rows(results), "")))
    return "\n".join(parts)


def _where(run: Mapping[str, Any]) -> str:
    at = run["machine"]
    system = at["system"].partition("-")[0]
    return (
        f"{run['began'][:10]}, {at['cores']} cores ({at['processor']}), {at['memory']}, {system}, "
        f"Python {at['python']}, Postgres {at['postgres']}, RabbitMQ {at['rabbitmq']}:"
    )


def _rows(results: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield "| scenario | figure | value | bound |"
    yield "|---|---|---:|---|"
    for result in results:
        for place, figure in enumerate(result["figures"]):
            name = "" if place else f"`{result['scenario']}`"
            yield f"| {name} | {figure['name']} | {written(figure['value'])} {figure['unit']} | {_kept(figure)} |"


def _kept(figure: Mapping[str, Any]) -> str:
    bound = Bound(**figure["bound"]) if figure["bound"] else None
    return "" if bound is None else f"{bound}, **missed**" if figure["missed"] else str(bound)


def replaced(document: str, tables: str) -> str:
    """The document with these tables.

    Raises:
        ValueError: it has no place for them.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the lines between which the tables stand are missing")
    return f"{before}{begin}\n{tables}\n{end}{after}"


def write(runs: Sequence[Mapping[str, Any]], folder: Path = DOCUMENTS) -> None:
    """Into the documents."""
    _into(folder / "performance.md", markdown(runs))
    for run in runs:
        for result in run["results"]:
            if result["scenario"] == "end_to_end":
                _into(folder / "scaling.md", f"{_where(run)}\n\n{capacity.tables(result)}\n")


def _into(document: Path, tables: str) -> None:
    document.write_text(replaced(document.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    write([json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]])
