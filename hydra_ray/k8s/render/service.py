"""The RayService: hydra-ray behind its endpoint, and the LLM beside it where the cluster hosts it."""

from __future__ import annotations

from typing import Any

from hydra_ray.k8s.render.clusters import group, ray_cluster
from hydra_ray.k8s.render.pods import MOMENT_S, Pods
from hydra_ray.k8s.render.serving import Served
from hydra_ray.k8s.render.yaml_text import to_yaml
from hydra_ray.k8s.settings.cluster import ClusterSettings

CONNECTIONS = "hydra-ray/database-connections"


def ray_service(cluster: ClusterSettings, served: Served) -> dict[str, Any]:
    """Return the service that answers."""
    pods = Pods(cluster, served, "serving")
    workers = cluster.workers
    groups = [group("cpu", pods.worker("cpu", workers), workers.min_pods, workers.max_pods, None)]
    if served.gpus and served.engine is not None:
        v = served.engine.generator.vllm
        # One more: room for a new replica while the pod of a lost node still counts.
        template = pods.worker("gpu", cluster.engine, served.gpus)
        groups.append(group("gpu", template, v.min_replicas, v.max_replicas + 1, v.accelerator))
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": cluster.name} | _annotations(cluster, served),
        "spec": {
            "upgradeStrategy": _upgrade(cluster),
            # The old one is deleted when it has been left, and requests that it has begun are over.
            "rayClusterDeletionDelaySeconds": pods.longest_s + MOMENT_S,
            # The head keeps the books; requests go to workers.
            "excludeHeadPodFromServeSvc": True,
            "serveConfigV2": to_yaml(served.config),
            "rayClusterConfig": ray_cluster(cluster, pods, cluster.head, groups, autoscaling=True),
        },
    }


def _annotations(cluster: ClusterSettings, served: Served) -> dict[str, Any]:
    """What `hydra-ray k8s check` cannot know of the database."""
    return {"annotations": {CONNECTIONS: str(cluster.postgresql.holds)}} if served.on_postgresql else {}


def _upgrade(cluster: ClusterSettings) -> dict[str, Any]:
    upgrade = cluster.upgrade
    found: dict[str, Any] = {"type": upgrade.type}
    if upgrade.type == "NewClusterWithIncrementalUpgrade":
        found["clusterUpgradeOptions"] = {
            "gatewayClassName": cluster.gateway.class_name,
            "stepSizePercent": upgrade.step_percent,
            "maxSurgePercent": upgrade.surge_percent,
            "intervalSeconds": upgrade.interval_s,
        }
    return found
