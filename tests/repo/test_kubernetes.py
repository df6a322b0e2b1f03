"""deploy/k8s: what kubectl makes of each overlay meets Kubernetes' own schemas, and what our processes need of it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api.ingest import stripe, woocommerce
from api.routes.ingest import MAX_EVENTS_BODY
from local_stack.folder import CHECKOUT
from shared import topology
from support import prometheus_rule
from support.configuration import PROCESSES, SERVICES, settings, variable

K8S = CHECKOUT / "deploy" / "k8s"
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))
VERSION = "1.34"
"""Of Kubernetes; the oldest that was still cared for when this was written. Newer ones take what it takes."""

# No schema can be had of these; their models from the package index took them once, by hand (DECISIONS.md).
CUSTOM = {"ServiceMonitor", "PrometheusRule", "RabbitmqCluster", "Cluster", "ScaledObject", "TriggerAuthentication"}

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    kubectl = Path(sys.executable).parent / "kubectl"
    made = subprocess.run([kubectl, "kustomize", K8S / "overlays" / overlay], capture_output=True, check=True)
    return tuple(yaml.safe_load_all(made.stdout))


def of_kind(overlay: str, *kinds: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in rendered(overlay) if one["kind"] in kinds}


def pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Ours, by the name of the process."""
    for name, one in of_kind(overlay, "Deployment", "Job").items():
        yield name.removeprefix("trustlens-"), one["spec"]["template"]["spec"]


def test_all_overlays_meet_the_schemas_of_kubernetes_strictly() -> None:
    different = {repr(manifest): manifest for overlay in OVERLAYS for manifest in rendered(overlay)}
    for manifest in different.values():
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_what_kubernetes_does_not_know_is_refused() -> None:
    [deployment] = [
        one for one in rendered("dev") if one["metadata"]["name"] == "trustlens-sync" and "template" in one["spec"]
    ]
    misspelt = deployment | {"spec": deployment["spec"] | {"replcas": 1}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replcas"):
        kubernetes_validate.validate(misspelt, VERSION, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_process_is_there_and_each_service_has_an_address_and_may_be_drained(overlay: str) -> None:
    names = {f"trustlens-{name}" for name in SERVICES}
    assert {name for name, _ in pods(overlay)} == set(PROCESSES)
    assert names <= set(of_kind(overlay, "Service"))
    budgets = of_kind(overlay, "PodDisruptionBudget")
    assert set(budgets) == names | set(of_kind(overlay, "RabbitmqCluster"))
    for name in names:
        assert budgets[name]["spec"]["selector"] == of_kind(overlay, "Deployment")[name]["spec"]["selector"]


def test_rabbitmq_keeps_its_majority_while_nodes_come_and_go() -> None:
    [(name, cluster)] = of_kind("prod", "RabbitmqCluster").items()
    budget = of_kind("prod", "PodDisruptionBudget")[name]["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": name}}}
    settings = dict(
        line.split(" = ") for line in cluster["spec"]["rabbitmq"]["additionalConfig"].splitlines() if "=" in line
    )
    members = "quorum_queue.continuous_membership_reconciliation"
    assert settings[f"{members}.enabled"] == "true"
    assert int(settings[f"{members}.target_group_size"]) == cluster["spec"]["replicas"]


def test_the_command_finds_what_the_overlay_has() -> None:
    """Services and Secrets that docs/deploy.md names for it."""
    text = (CHECKOUT / "docs" / "deploy.md").read_text(encoding="utf-8")
    secrets = set(re.findall(r"\(secret ([\w-]+) ", text))
    assert secrets == named_secrets("prod")
    forwarded = set(re.findall(r"port-forward service/(\S+) \S+ -n trustlens &", text))
    [postgres], [rabbitmq] = of_kind("prod", "Cluster"), of_kind("prod", "RabbitmqCluster")
    assert forwarded == {"trustlens-api", f"{postgres}-rw", rabbitmq}
    assert {"postgres", "rabbitmq"} <= set(of_kind("dev", "Service"))


def named_secrets(overlay: str) -> set[str]:
    return {
        source["secret"]["name"]
        for _, pod in pods(overlay)
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_of_ours_are_restricted(overlay: str) -> None:
    """As the Pod Security Standard of that name has it, and with a root that cannot be written to."""
    for _, pod in pods(overlay):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        assert not pod["enableServiceLinks"]
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            assert "cpu" in container["resources"]["requests"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_has_the_time_that_its_service_takes_to_drain(overlay: str) -> None:
    [values] = of_kind(overlay, "ConfigMap").values()
    drain = float(values["data"]["TRUSTLENS_DRAIN_SECONDS"])
    for name, pod in pods(overlay):
        if name in SERVICES:
            [container] = pod["containers"]
            before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert before + drain * 1.25 + 5 <= pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_process_finds_its_secrets_and_nobody_elses(overlay: str) -> None:
    secret = {"secret_keys", "database_url", "amqp_url", "store_id", "api_key", "woocommerce_secret", "stripe_secret"}
    for name, pod in pods(overlay):
        [files] = [volume["projected"]["sources"] for volume in pod["volumes"] if volume["name"] == "secrets"]
        found = {item["path"] for source in files for item in source["secret"]["items"]}
        assert found >= {variable(one).lower() for one in secret & set(PROCESSES[name].model_fields)}
        assert found <= {variable(one).lower() for one in PROCESSES[name].model_fields}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_configured_are_settings(overlay: str) -> None:
    [values] = of_kind(overlay, "ConfigMap").values()
    assert set(values["data"]) <= {variable(name) for name in settings()}
    assert not [name for name in values["data"] if name.endswith(("_URL", "_KEYS")) and "STORE" not in name]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_are_asked_how_they_are(overlay: str) -> None:
    for name, pod in pods(overlay):
        if name in SERVICES:
            [container] = pod["containers"]
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
            assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_dispatcher_and_the_sync_process_may_leave_the_cluster(overlay: str) -> None:
    policies = of_kind(overlay, "NetworkPolicy").values()
    leaving = [policy for policy in policies if "ipBlock" in str(policy["spec"].get("egress"))]
    assert [policy["spec"]["podSelector"]["matchExpressions"] for policy in leaving] == [
        [{"key": "app.kubernetes.io/component", "operator": "In", "values": ["dispatcher", "sync"]}]
    ]
    everyone = {"matchLabels": {"app.kubernetes.io/name": "trustlens"}}
    [all_of_ours] = [policy["spec"] for policy in policies if policy["spec"]["podSelector"] == everyone]
    assert set(all_of_ours["policyTypes"]) == {"Ingress", "Egress"}
    assert all("to" in rule for rule in all_of_ours["egress"])
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in of_kind(overlay, "Deployment", "Job").values()]
    assert all(label["app.kubernetes.io/name"] == "trustlens" for label in labels)


def test_queues_that_scale_are_queues() -> None:
    objects = of_kind("prod-keda", "ScaledObject")
    triggers = [trigger for one in objects.values() for trigger in one["spec"]["triggers"]]
    assert {trigger["metadata"]["queueName"] for trigger in triggers} <= {queue.name for queue in topology.QUEUES}
    assert {trigger["authenticationRef"]["name"] for trigger in triggers} == set(
        of_kind("prod-keda", "TriggerAuthentication")
    )
    assert {one["spec"]["scaleTargetRef"]["name"] for one in objects.values()} == set(objects)
    assert set(of_kind("prod-keda", "HorizontalPodAutoscaler")) == {"trustlens-api"}


def test_the_operators_secrets_are_those_of_the_servers_asked_for() -> None:
    [postgres], [rabbitmq] = of_kind("prod", "Cluster"), of_kind("prod", "RabbitmqCluster")
    assert named_secrets("prod") == {"trustlens", f"{postgres}-app", f"{rabbitmq}-default-user"}
    found = {
        (item["path"], source["secret"]["name"])
        for _, pod in pods("prod")
        for source in pod["volumes"][0]["projected"]["sources"]
        for item in source["secret"]["items"]
        if item["path"].endswith("_url")
    }
    assert found == {
        ("trustlens_database_url", f"{postgres}-app"),
        ("trustlens_amqp_url", f"{rabbitmq}-default-user"),
    }


def test_the_way_in_lets_through_what_the_api_takes() -> None:
    [ingress] = of_kind("prod", "Ingress").values()
    most = max(MAX_EVENTS_BODY, stripe.MAX_BODY, woocommerce.MAX_BODY)
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(size.removesuffix("m")) * 1024 * 1024 == most


def test_prometheus_finds_each_service_by_what_is_on_it() -> None:
    [monitor] = of_kind("prod", "ServiceMonitor").values()
    wanted, [endpoint] = monitor["spec"]["selector"]["matchLabels"].items(), monitor["spec"]["endpoints"]
    for name, service in of_kind("prod", "Service").items():
        assert wanted <= service["metadata"]["labels"].items(), name
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_kubernetes_has_the_alerts_that_compose_has() -> None:
    made = yaml.safe_load(prometheus_rule.FILE.read_text())
    assert made == prometheus_rule.rule(), "made anew by: python -m support.prometheus_rule, in tests/"
