"""What Prometheus' operator and Grafana take: where metrics are, alerts, and a dashboard."""

from __future__ import annotations

import json
from typing import Any

from hydra_ray.k8s.render.pods import Pods
from hydra_ray.k8s.render.serving import Served
from hydra_ray.k8s.render.sources import alerts, dashboard
from hydra_ray.k8s.settings.cluster import ClusterSettings


def pod_monitor(cluster: ClusterSettings, served: Served) -> dict[str, Any]:
    """Return what has Prometheus read the metrics of all pods of the service: KubeRay names their port `metrics`."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": cluster.name},
        "spec": {
            "selector": {"matchLabels": Pods(cluster, served, "serving").labels()},
            "podMetricsEndpoints": [
                {
                    "port": "metrics",
                    "interval": "15s",
                    "metricRelabelings": [
                        # Each restart of the cluster would be series of its own.
                        {"action": "labeldrop", "regex": "SessionName|otel_scope_.*"},
                    ],
                }
            ],
        },
    }


def rules(cluster: ClusterSettings) -> dict[str, Any]:
    """Return the alerts."""
    rule = alerts()
    return {**rule, "metadata": {"name": cluster.name}}


def grafana(cluster: ClusterSettings) -> dict[str, Any]:
    """Return the dashboard as a ConfigMap, which Grafana's sidecar finds by its label."""
    # On one line: it is made and read by machines, and its source is beside the package's code.
    text = json.dumps(json.loads(dashboard()), separators=(",", ":"))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{cluster.name}-dashboard", "labels": {"grafana_dashboard": "1"}},
        "data": {"dashboard.json": text},
    }
