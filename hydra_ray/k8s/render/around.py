"""What is around the pods: their namespace, volume and priorities, who may evict them, and the way in."""

from __future__ import annotations

import math
from typing import Any

from hydra_ray.k8s.render.pods import Pods
from hydra_ray.k8s.render.serving import PORT, Served
from hydra_ray.k8s.settings.cluster import ClusterSettings

# By this `hydra-ray k8s check` knows what is made elsewhere.
ELSEWHERE = "hydra-ray/elsewhere"


def namespace(cluster: ClusterSettings, served: Served, learner: Served) -> dict[str, Any]:
    """Return the namespace, which takes pods of the restricted kind alone and names what others make in it."""
    metadata: dict[str, Any] = {"name": cluster.namespace}
    metadata["labels"] = {f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "warn")}
    if elsewhere := _elsewhere(cluster, served, learner):
        metadata["annotations"] = {ELSEWHERE: " ".join(elsewhere)}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _elsewhere(cluster: ClusterSettings, served: Served, learner: Served) -> list[str]:
    """Objects that manifests refer to and do not make."""
    secrets = list(cluster.pull_secrets)
    keys = Pods(cluster, served, "serving").secret_keys() | Pods(cluster, learner, "learning").secret_keys()
    if keys or cluster.redis.address is not None:
        secrets.insert(0, cluster.secret)
    queues = [cluster.jobs.queue] if cluster.jobs.queue is not None else []
    accounts = [cluster.service_account] if cluster.service_account is not None else []
    by_kind = {"Secret": secrets, "LocalQueue": queues, "ServiceAccount": accounts}
    return [f"{kind}/{name}" for kind, names in by_kind.items() for name in names]


def volume(cluster: ClusterSettings) -> dict[str, Any]:
    """Return the claim of the volume that all pods have at /data."""
    spec: dict[str, Any] = {
        "accessModes": [cluster.storage.access_mode],
        "resources": {"requests": {"storage": cluster.storage.size}},
    }
    if cluster.storage.class_name is not None:
        spec["storageClassName"] = cluster.storage.class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{cluster.name}-data"},
        "spec": spec,
    }


def priorities(cluster: ClusterSettings) -> list[dict[str, Any]]:
    """Return the priorities of pods that answer and of pods that learn."""
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": cluster.priority_class("serving")},
            "value": cluster.priority.serving,
            "description": "Pods that answer requests.",
        },
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": cluster.priority_class("learning")},
            "value": cluster.priority.learning,
            "preemptionPolicy": "Never",
            "description": "Pods of jobs, which wait for room.",
        },
    ]


def disruption_budgets(cluster: ClusterSettings, served: Served) -> list[dict[str, Any]]:
    """Return how many pods of each kind have to stay when nodes are emptied.

    Numbers, not shares: Kubernetes cannot count how many pods a RayCluster is to have.
    """
    pods = Pods(cluster, served, "serving").labels()
    kept = {"head": 1, "cpu": max(1, cluster.workers.min_pods - 1)}
    if served.gpus and served.engine is not None:
        kept["gpu"] = max(1, served.engine.generator.vllm.min_replicas - 1)
    found = []
    for name, least in kept.items():
        group = {"ray.io/node-type": "head"} if name == "head" else {"ray.io/group": name}
        found.append(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": f"{cluster.name}-{name}"},
                "spec": {
                    "minAvailable": least,
                    # What is not ready answers nobody, and may go.
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                    "selector": {"matchLabels": pods | group},
                },
            }
        )
    return found


def route(cluster: ClusterSettings, served: Served) -> list[dict[str, Any]]:
    """Return the route from a Gateway that is there already to the service; none without a host."""
    gateway = cluster.gateway
    if gateway.host is None:
        return []
    longest = math.ceil(served.settings.serve.timeout_s)
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": cluster.name},
            "spec": {
                "parentRefs": [{"name": gateway.name, "namespace": cluster.gateway_namespace}],
                "hostnames": [gateway.host],
                "rules": [
                    {
                        "backendRefs": [{"name": f"{cluster.name}-serve-svc", "port": PORT}],
                        # Streams are long, too.
                        "timeouts": {"request": f"{longest}s"},
                    }
                ],
            },
        }
    ]
