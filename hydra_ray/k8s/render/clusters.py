"""Ray clusters as KubeRay wants them: the one that serves, and those of jobs."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from hydra_ray.k8s.render.pods import CONTAINER_SECURITY, Pods
from hydra_ray.k8s.settings.cluster import ClusterSettings
from hydra_ray.k8s.settings.sizes import PodSize


def ray_cluster(
    cluster: ClusterSettings, pods: Pods, head: PodSize, groups: list[dict[str, Any]], autoscaling: bool
) -> dict[str, Any]:
    """Return the spec of a cluster.

    Args:
        cluster: Settings.
        pods: Makes its pods.
        head: Size of its head.
        groups: Groups of workers.
        autoscaling: Whether pods come and go with the work; else there are as many as the groups say.
    """
    spec: dict[str, Any] = {
        "rayVersion": version("ray"),
        # Without it whoever reaches the head runs code. KubeRay makes a token for each cluster.
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": autoscaling,
    }
    if autoscaling:
        small = {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "1Gi"}
        spec["autoscalerOptions"] = {
            "version": "v2",
            # No rate: maxReplicas of the groups are the limit.
            "upscalingMode": "Default",
            "idleTimeoutSeconds": cluster.idle_s,
            "resources": {"requests": small, "limits": small},
            "securityContext": dict(CONTAINER_SECURITY),
        }
    if pods.component == "serving" and cluster.redis.address is not None:
        password = {"secretKeyRef": {"name": cluster.secret, "key": cluster.redis.password_key}}
        spec["gcsFaultToleranceOptions"] = {
            "redisAddress": cluster.redis.address,
            "redisPassword": {"valueFrom": password},
        }
    template = pods.head(head)
    template["spec"]["automountServiceAccountToken"] = autoscaling
    spec["headGroupSpec"] = {
        # Work that asks for CPUs stays away from the books. Other pods submit jobs and Serve configs to the dashboard.
        "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
        "template": template,
    }
    spec["workerGroupSpecs"] = groups
    return spec


def group(name: str, template: dict[str, Any], fewest: int, most: int, accelerator: str | None) -> dict[str, Any]:
    """Return a group of workers.

    Args:
        name: Of the group.
        template: Of its pods.
        fewest: Pods that there are always.
        most: Pods that there may be.
        accelerator: Ray's name of their GPUs, where replicas ask for it.
    """
    start: dict[str, Any] = {}
    if accelerator is not None:
        # A node says by itself which GPUs it has. Of nodes that are not there yet, the autoscaler has to be told.
        resources = json.dumps({f"accelerator_type:{accelerator}": 1})
        # Quoted once more: KubeRay writes it into a shell's line.
        start["resources"] = json.dumps(resources)
    return {
        "groupName": name,
        "replicas": fewest,
        "minReplicas": fewest,
        "maxReplicas": most,
        "rayStartParams": start,
        "template": template,
    }
