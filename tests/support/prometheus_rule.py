"""The alerts of deploy/observability as the Prometheus Operator takes them: kustomize cannot put a file into a field.

`python -m support.prometheus_rule`, in tests/, writes it where the Kubernetes component reads it.
"""

from typing import Any

import yaml

from local_stack.folder import CHECKOUT

ALERTS = CHECKOUT / "deploy/observability/alerts.yaml"
FILE = CHECKOUT / "deploy/k8s/components/monitoring/prometheus-rule.yaml"
HEAD = "# Made of deploy/observability/alerts.yaml by `python -m support.prometheus_rule`, in tests/.\n"


def rule() -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "trustlens"},
        "spec": yaml.safe_load(ALERTS.read_text()),
    }


if __name__ == "__main__":
    FILE.write_text(HEAD + yaml.safe_dump(rule(), sort_keys=False, width=120))
