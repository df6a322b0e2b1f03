"""Metrics, alerts and dashboards: each metric that a service has is told, and nobody asks for one that there is not."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import promql_parser as promql
import pytest
import yaml
from prometheus_client import REGISTRY

import api.__main__
import dispatcher.__main__
import rule_engine.__main__
import scorer.__main__
from local_stack.folder import CHECKOUT

SERVICES = (api.__main__, dispatcher.__main__, rule_engine.__main__, scorer.__main__)
"""They register what the services have."""

METRICS = (CHECKOUT / "docs" / "metrics.md").read_text(encoding="utf-8")
OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")
FOLDER = CHECKOUT / "deploy" / "observability"
ALERTS = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
SCRAPED = {
    *(path.parent.name for path in CHECKOUT.glob("services/*/Dockerfile")),
    "sync",
}  # another process of the api's image
OF_THE_SCRAPE = frozenset({"job", "instance"})
OTHERS = dict.fromkeys(
    ("up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"), ()
)
"""Not ours: of Prometheus, and of its client."""
SUFFIXES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "counter": {"_total": ()},
    "gauge": {"": ()},
    "histogram": {"_bucket": ("le",), "_sum": (), "_count": ()},
}


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: str
    labels: tuple[str, ...]


def registered() -> set[Metric]:
    ours = {it for it in REGISTRY._collector_to_names if getattr(it, "_name", "").startswith("trustlens_")}
    return {Metric(it._name, it._type, tuple(it._labelnames)) for it in ours}  # type: ignore[attr-defined]


def told() -> dict[Metric, str]:
    """Of the table's rows, with who has it."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*?) ?\| .+ \| ([\w-]+) \|$", METRICS, re.MULTILINE)
    assert len(rows) == METRICS.count("\n| `trustlens_")
    return {
        Metric(name.removesuffix("_total") if kind == "counter" else name, kind, tuple(re.findall(r"\w+", labels))): who
        for name, kind, labels, who in rows
    }


SERIES = {
    metric.name + suffix: {*metric.labels, *more, *OF_THE_SCRAPE}
    for metric in registered()
    for suffix, more in SUFFIXES[metric.kind].items()
} | {name: {*labels, *OF_THE_SCRAPE} for name, labels in OTHERS.items()}
"""What Prometheus has, by name, with its labels."""


def expressions() -> Iterator[tuple[str, str]]:
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"].replace("$__rate_interval", "5m")


def labels_asked(expression: str) -> set[str]:
    """Those that it groups or matches by, and of one series or another selects by."""
    found: set[str] = set()

    def visit(node: promql.Expr) -> bool:
        match node:
            case promql.VectorSelector():
                found.update(matcher.name for matcher in node.matchers.matchers)
            case promql.AggregateExpr(modifier=by) if by:
                found.update(by.labels)
            case promql.BinaryExpr(modifier=by) if by and by.matching:
                found.update(by.matching.labels)
        return True

    promql.walk(promql.parse(expression), visit)
    return found


def faults(expression: str) -> list[str]:
    """What it names and there is not. It parses, or this raises."""
    series: set[str] = set()
    wrong: list[str] = []

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector):
            name = node.name or ""
            series.add(name)
            selected = {matcher.name for matcher in node.matchers.matchers}
            wrong.extend([name] if name not in SERIES else sorted(selected - SERIES[name]))
        return True

    promql.walk(promql.parse(expression), visit)
    known = set[str]().union(*(SERIES.get(name, set()) for name in series))
    return wrong or sorted(labels_asked(expression) - known)


def test_the_table_has_every_metric_with_its_type_and_labels_and_no_other() -> None:
    assert set(told()) == registered()


def test_the_table_names_the_service_whose_metric_it_is() -> None:
    owners = {"scorer": "scorer", "rules": "rule-engine", "gate": "api", "http": "api", "inputs": "api"}
    owners |= {"delivery": "dispatcher", "deliveries": "dispatcher", "intake": "api"}
    assert set(told().values()) == {"api", "sync", "scorer", "rule-engine", "dispatcher", "workers", "all"}
    for metric, who in told().items():
        if owner := owners.get(metric.name.split("_")[1]):
            assert who == owner


def test_alerts_and_dashboards_ask_for_series_and_labels_that_there_are() -> None:
    asked = list(expressions())
    assert len(asked) > 50
    assert {where: wrong for where, expression in asked if (wrong := faults(expression))} == {}


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("rate(trustlens_gone_total[5m]) > 1", ["trustlens_gone_total"]),
        ("absent(up{jop='api'})", ["jop"]),
        ("sum by (store) (rate(trustlens_gate_total[5m]))", ["store"]),
        ("up unless on (queue) (sum by (queue) (trustlens_errors_total))", ["queue"]),
        ("up{job='api'} == 0", []),
    ],
)
def test_an_expression_that_names_what_is_not_there_is_found(expression: str, wrong: list[str]) -> None:
    assert faults(expression) == wrong


def test_each_alert_has_a_paragraph_in_the_runbook_and_no_paragraph_is_of_another() -> None:
    headings = re.findall(r"^### (TrustLens\w+)$", OPERATIONS, re.MULTILINE)
    assert headings == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_what_each_alert_says_is_made_of_labels_that_it_keeps() -> None:
    """`$labels.x` of a label that was summed away is empty, and nobody notices before it fires."""
    for rule in ALERTS:
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert named <= labels_asked(rule["expr"]), rule["alert"]


def test_a_service_that_left_no_series_behind_is_named_all_the_same() -> None:
    """`absent` keeps the labels that are selected by `=`, and of `=~` none: several of them would be one alert."""
    [rule] = [rule for rule in ALERTS if rule["alert"] == "TrustLensServiceDown"]
    named = re.findall(
        r'label_replace\(absent\(up\{job=~"\(trustlens-\)\?([\w-]+)"\}\), "job", "([\w-]+)"', rule["expr"]
    )
    assert {(job, job) for job in SCRAPED} == set(named)
    assert len(named) == rule["expr"].count("absent(")
    assert not [other["alert"] for other in ALERTS if "absent" in other["expr"] and other is not rule]


def test_every_dashboard_is_of_the_data_source_that_is_provisioned() -> None:
    source = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    uid = source["datasources"][0]["uid"]
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]
    assert {board["uid"] for board in boards} == {"trustlens-overview", "trustlens-delivery", "trustlens-scoring"}
    assert {panel["datasource"]["uid"] for board in boards for panel in board["panels"]} == {uid}
    assert all(len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) for board in boards)


def test_prometheus_asks_every_service_and_reads_the_alerts() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))
    assert [Path(name).name for name in config["rule_files"]] == ["alerts.yaml"]
    assert set(config["scrape_configs"][0]["dns_sd_configs"][0]["names"]) == SCRAPED
