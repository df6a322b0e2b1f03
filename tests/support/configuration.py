"""docs/configuration.md's table of settings, made of the settings themselves.

`python -m support.configuration`, in tests/, writes it between the page's marks.
"""

import re
from collections.abc import Iterator
from typing import Any, get_args

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from api.first_store import FirstStoreSettings
from api.settings import ApiSettings
from api.sync.settings import SyncSettings
from dispatcher.settings import DispatcherSettings
from local_stack.folder import CHECKOUT
from rule_engine.settings import RuleEngineSettings
from scorer.settings import ScorerSettings
from shared.settings import DatabaseSettings

FILE = CHECKOUT / "docs" / "configuration.md"
BEGIN, END = "<!-- begin: made by tests/support/configuration.py -->\n", "<!-- end -->\n"
HEAD = "| variable | default | unit | allowed | meaning | who reads it |\n|---|---|---|---|---|---|\n"

SERVICES: dict[str, type[DatabaseSettings]] = {
    "api": ApiSettings,
    "sync": SyncSettings,
    "scorer": ScorerSettings,
    "rule-engine": RuleEngineSettings,
    "dispatcher": DispatcherSettings,
}
PROCESSES = SERVICES | {"migrate": DatabaseSettings, "first-store": FirstStoreSettings}

UNITS = {
    r"\w+_seconds|\w+_interval|burst_window|retry_delays": "s",
    r"\w+_hours": "h",
    r"\w+_hour": "hour of the day",
    r"\w+_days": "days",
    r"rate_limit|sync_rate": "requests/s",
}
"""Of settings, by their names."""
COUNTS = {"port", "pool_size", "batch_size", "in_flight", "sync_tries", "stores_at_once"}
"""Numbers of what their names say."""


def variable(name: str) -> str:
    return f"TRUSTLENS_{name}".upper()


def unit(name: str) -> str:
    return next((unit for pattern, unit in UNITS.items() if re.fullmatch(pattern, name)), "")


def is_number(field: FieldInfo) -> bool:
    return field.annotation in {int, float}


def _default(field: FieldInfo) -> str:
    match field.get_default():
        case _ if field.is_required():
            return "none: to be set"
        case bool(value):
            return str(value).lower()
        case tuple(values):
            return ",".join(map(str, values)) or "empty"
        case value:
            return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def _allowed(field: FieldInfo) -> str:
    if all(isinstance(choice, str) for choice in get_args(field.annotation)):
        return ", ".join([*get_args(field.annotation), *_bounds(field)])
    return ""


def _bounds(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        match limit:
            case Gt(gt=value):
                yield f"> {value}"
            case Ge(ge=value):
                yield f"≥ {value}"
            case Le(le=value):
                yield f"≤ {value}"


def _cells(name: str, field: FieldInfo) -> tuple[str, ...]:
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"`{variable(name)}`", _default(field), unit(name), _allowed(field), meaning


def _who(processes: list[str]) -> str:
    return ", ".join(["all services", *processes[len(SERVICES) :]] if set(processes) >= set(SERVICES) else processes)


def table() -> str:
    """A row for each meaning of a variable: services may have defaults of their own."""
    rows: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for process, kind in PROCESSES.items():
        for name, field in kind.model_fields.items():
            rows.setdefault(name, {}).setdefault(_cells(name, field), []).append(process)
    told = ((*cells, _who(processes)) for meanings in rows.values() for cells, processes in meanings.items())
    return HEAD + "".join("| " + " | ".join(row) + " |\n" for row in told)


def written(page: str) -> str:
    """The page with its table made anew."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def settings() -> dict[str, Any]:
    """Every setting's field, of whichever process."""
    return {name: field for kind in PROCESSES.values() for name, field in kind.model_fields.items()}


if __name__ == "__main__":
    FILE.write_text(written(FILE.read_text(encoding="utf-8")), encoding="utf-8")
