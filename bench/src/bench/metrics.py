"""What a process tells of itself: its /metrics, and what the kernel counts of it."""

import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Reading:
    """All samples of one moment."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    @classmethod
    def parse(cls, text: str) -> Self:
        families = text_string_to_metric_families(text)
        return cls({(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples})

    def value(self, name: str, **labels: str) -> float:
        """0 where it has not been counted yet."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def total(self, name: str, **labels: str) -> float:
        """Of all samples with these labels, whatever others they have."""
        wanted = labels.items()
        return sum(value for (of, its), value in self.samples.items() if of == name and wanted <= its)

    def since(self, earlier: "Reading") -> "Reading":
        return Reading({key: value - earlier.samples.get(key, 0.0) for key, value in self.samples.items()})


def read(url: str) -> Reading:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310  # our own process
        return Reading.parse(answer.read().decode())


def cpu_seconds(pid: int) -> float:
    """What this process, its living descendants and its ended children have used."""
    return sum(_ticks(one) for one in family(pid)) / TICKS


def peak_memory(pid: int) -> int:
    """The most bytes that were resident at once."""
    return _of_status(pid, "VmHWM")


def memory(pid: int) -> int:
    """Bytes that are resident now."""
    return _of_status(pid, "VmRSS")


def _of_status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def family(pid: int) -> list[int]:
    """This process and its living descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        found = [int(child) for child in children.read_text(encoding="utf-8").split()]
    except FileNotFoundError:
        return []
    return [pid, *(one for child in found for one in family(child))]


def _ticks(pid: int) -> int:
    """User and system time, also of children that were waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        return 0
    return sum(map(int, fields[11:15]))
