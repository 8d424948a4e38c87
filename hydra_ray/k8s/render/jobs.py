"""Jobs: a RayJob for each command that learns, and the refit that comes again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hydra_ray.k8s.check.kuberay.cron import schedule_problems
from hydra_ray.k8s.render.clusters import group, ray_cluster
from hydra_ray.k8s.render.learning import REFIT, Command
from hydra_ray.k8s.render.pods import CONTAINER_SECURITY, POD_SECURITY, Pods
from hydra_ray.k8s.render.serving import Served
from hydra_ray.k8s.settings.cluster import ClusterSettings
from hydra_ray.k8s.settings.sizes import PodSize
from hydra_ray.settings import SettingsError

QUEUE = "kueue.x-k8s.io/queue-name"


def ray_job(cluster: ClusterSettings, learner: Served, command: Command, config_map: str) -> dict[str, Any]:
    """Return the RayJob of one command, with a cluster of its own.

    Args:
        cluster: Settings of the cluster.
        learner: What it works with.
        command: What is run.
        config_map: Name of the ConfigMap with the settings.
    """
    pods, jobs = Pods(cluster, learner, "learning", config_map), cluster.jobs
    groups = _groups(cluster, learner, command, pods)
    spec: dict[str, Any] = {"entrypoint": command.words}
    if jobs.own_cpus:
        # Takes the command itself to a worker: the head has no CPUs to give.
        spec["entrypointNumCpus"] = jobs.own_cpus
    spec |= _ending(cluster) | {
        # Each retry is a new cluster, which goes on from what the one before left on the volume.
        "backoffLimit": jobs.retries,
        "preRunningDeadlineSeconds": jobs.start_deadline_s,
        "activeDeadlineSeconds": jobs.deadline_s,
        "submitterPodTemplate": _submitter(cluster, pods),
        "rayClusterSpec": ray_cluster(cluster, pods, jobs.head, groups, autoscaling=jobs.queue is None),
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": f"{cluster.name}-{command.name}", "labels": _queue_labels(cluster)},
        "spec": spec,
    }


def refit(cluster: ClusterSettings, learner: Served, config_map: str) -> dict[str, Any]:
    """Return the CronJob that fits heads from what the store holds, in one pod.

    Raises:
        HydraError: Its schedule is none.
    """
    for field, problem in schedule_problems({"schedule": cluster.refit.schedule, "timeZone": cluster.refit.time_zone}):
        raise SettingsError(f"refit.{'time_zone' if field == 'timeZone' else field}: {problem}")
    pods, jobs = Pods(cluster, learner, "learning", config_map), cluster.jobs
    # It asks the LLM as `fit` does; where that is hosted, by an engine of its own.
    size = cluster.engine if learner.gpus else cluster.refit.size
    template = _alone(pods, "refit", size, learner.gpus, REFIT)
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"{cluster.name}-refit"},
        "spec": {
            "schedule": cluster.refit.schedule,
            "timeZone": cluster.refit.time_zone,
            "suspend": cluster.refit.suspended,
            # Two at once would fit the same users.
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": _queue_labels(cluster)},
                "spec": {
                    "backoffLimit": jobs.retries,
                    "activeDeadlineSeconds": jobs.deadline_s,
                    "ttlSecondsAfterFinished": 86_400,
                    "template": template,
                },
            },
        },
    }


def admin(cluster: ClusterSettings, learner: Served, config_map: str) -> dict[str, Any]:
    """Return the pod in which somebody types commands, with the data, the settings and the keys of jobs."""
    pods = Pods(cluster, learner, "learning", config_map)
    template = _alone(pods, "admin", cluster.jobs.head, 0, ("sleep", "infinity"))
    spec = template["spec"]
    # It ends by itself when it is forgotten, and at once when it is deleted: nothing waits for what it has begun.
    spec |= {"activeDeadlineSeconds": 43_200, "terminationGracePeriodSeconds": 1}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{cluster.name}-admin"} | template["metadata"],
        "spec": spec,
    }


def _alone(pods: Pods, name: str, size: PodSize, gpus: int, command: Sequence[str]) -> dict[str, Any]:
    """The template of a pod that is of no Ray cluster; what it runs may start one of its own."""
    template = pods.worker(name, size, gpus)
    container = template["spec"]["containers"][0]
    # There is no agent of Ray before the command starts one.
    for probe in ("livenessProbe", "readinessProbe"):
        del container[probe]
    del template["spec"]["topologySpreadConstraints"]
    container |= {"name": name, "command": list(command)}
    # As KubeRay gives it to its pods: others have 64 MB, and Ray's objects take up to 30 % of the memory.
    container["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})
    template["spec"]["volumes"].append(
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": size.memory}}
    )
    template["spec"]["restartPolicy"] = "Never"
    return template


def _groups(cluster: ClusterSettings, learner: Served, command: Command, pods: Pods) -> list[dict[str, Any]]:
    """As many workers as the command can use: from the fewest on where they come by themselves, else all at once."""
    jobs, comes = cluster.jobs, cluster.jobs.queue is None
    most = jobs.workers.max_pods if command.is_wide else max(1, jobs.workers.min_pods)
    fewest = max(1, jobs.workers.min_pods) if comes else most
    groups = [group("cpu", pods.worker("cpu", jobs.workers), fewest, most, None)]
    engines = _gpu_pods(cluster, learner, command)
    if engines:
        gpus = max(1, learner.gpus)
        template, fewest = pods.worker("gpu", cluster.engine, gpus), 0 if comes else engines
        groups.append(group("gpu", template, fewest, engines, learner.settings.generator.vllm.accelerator))
    return groups


def _gpu_pods(cluster: ClusterSettings, learner: Served, command: Command) -> int:
    if command.asks_llm and learner.gpus:
        return cluster.jobs.engines
    if command.trains and learner.settings.base.gpu:
        return math.ceil(learner.settings.base.workers / max(1, learner.gpus))
    return 0


def _ending(cluster: ClusterSettings) -> dict[str, Any]:
    """What becomes of a job's cluster. Kueue takes jobs only that end their cluster by the older field, beside which
    KubeRay takes no rules."""
    jobs = cluster.jobs
    if jobs.queue is not None:
        gone = {"policy": "DeleteCluster"}
        return {
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": jobs.kept_s,
            "deletionStrategy": {"onSuccess": gone, "onFailure": dict(gone)},
        }

    def rule(policy: str, condition: str, value: str, seconds: int) -> dict[str, Any]:
        return {"policy": policy, "condition": {condition: value, "ttlSeconds": seconds}}

    return {
        "deletionStrategy": {
            "deletionRules": [
                rule("DeleteCluster", "jobStatus", "SUCCEEDED", jobs.kept_s),
                rule("DeleteCluster", "jobStatus", "FAILED", jobs.kept_failed_s),
                # One that never ran, or took too long.
                rule("DeleteCluster", "jobDeploymentStatus", "Failed", jobs.kept_failed_s),
            ]
        }
    }


def _queue_labels(cluster: ClusterSettings) -> dict[str, str]:
    return {QUEUE: cluster.jobs.queue} if cluster.jobs.queue is not None else {}


def _submitter(cluster: ClusterSettings, pods: Pods) -> dict[str, Any]:
    security = {name: value for name, value in POD_SECURITY.items() if not name.startswith("fsGroup")}
    limits = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "priorityClassName": cluster.priority_class("learning"),
        "securityContext": security,
    }
    if cluster.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in cluster.pull_secrets]
    spec["containers"] = [
        {
            "name": "ray-job-submitter",
            "image": pods.image,
            "securityContext": dict(CONTAINER_SECURITY),
            "resources": {"requests": {**limits, "cpu": "200m", "memory": "512Mi"}, "limits": limits},
        }
    ]
    return {"metadata": {"labels": pods.labels()}, "spec": spec}
