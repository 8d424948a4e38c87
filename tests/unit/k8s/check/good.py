"""One small deployment that a check has nothing to say about, for tests to break one thing at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml

from hydra_ray.cli import app
from hydra_ray.k8s.check import Report, check

Objects = dict[str, dict[str, Any]]

SERVE = """
http_options: {host: 0.0.0.0, port: 8000}
applications:
  - name: hydra
    route_prefix: /
    import_path: hydra_ray.serve.app:build
    args:
      out: /data/hydra
      method: {rerank: true}
      generator: {backend: openai, base_url: https://llm.example.com/v1, model: m}
      store: {url: postgresql+psycopg://hydra@postgres/hydra, password_env: HYDRA_STORE_PASSWORD}
    deployments:
      - {name: Ingress, autoscaling_config: {min_replicas: 1, max_replicas: 2}}
      - {name: Reranker, autoscaling_config: {min_replicas: 1, max_replicas: 2}}
"""
CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}


def objects() -> Objects:
    """All objects, by kind and name; changing them changes nothing else."""
    plain = yaml.safe_load_all(Path(__file__).with_name("plain.yaml").read_text(encoding="utf-8"))
    found = [*plain, service(), job(), cron_job()]
    # A copy by way of JSON: nothing in it is the same as anything else.
    return {f"{one['kind']}/{one['metadata']['name']}": json.loads(json.dumps(one)) for one in found}


def pod(app: str) -> dict[str, Any]:
    """A template of pods."""
    secret = {"name": "secrets"}
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {
            "serviceAccountName": "hydra",
            "priorityClassName": "serving",
            "terminationGracePeriodSeconds": 200,
            "securityContext": POD,
            "containers": [
                {
                    "name": "ray",
                    "image": "registry.example.com/hydra-ray:0.1.0",
                    "env": [
                        {"name": name, "valueFrom": {"secretKeyRef": {**secret, "key": name}}}
                        for name in ("OPENAI_API_KEY", "HYDRA_STORE_PASSWORD")
                    ],
                    "ports": [{"name": "serve", "containerPort": 8000}],
                    "securityContext": CONTAINER,
                    "resources": {kind: {"cpu": "4", "memory": "8Gi"} for kind in ("requests", "limits")},
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/data"},
                        {"name": "settings", "mountPath": "/etc/hydra-ray", "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "settings", "configMap": {"name": "settings"}},
            ],
        },
    }


def cluster(app: str, **more: Any) -> dict[str, Any]:
    """A Ray cluster with one group of workers."""
    group = {"groupName": "cpu", "replicas": 1, "minReplicas": 1, "maxReplicas": 2, "rayStartParams": {}}
    return {
        "rayVersion": "2.60.0",
        "authOptions": {"mode": "token"},
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": pod(app)},
        "workerGroupSpecs": [{**group, "template": pod(app)}],
        **more,
    }


def service() -> dict[str, Any]:
    """What serves."""
    options = {
        "version": "v2",
        "idleTimeoutSeconds": 60,
        "resources": {kind: {"cpu": "500m", "memory": "1Gi"} for kind in ("requests", "limits")},
        "securityContext": CONTAINER,
    }
    spec = {
        "upgradeStrategy": {"type": "NewCluster"},
        "rayClusterDeletionDelaySeconds": 200,
        "serveConfigV2": SERVE,
        "rayClusterConfig": cluster("hydra", enableInTreeAutoscaling=True, autoscalerOptions=options),
    }
    return {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "hydra"}, "spec": spec}


def submitter() -> dict[str, Any]:
    """The pod that submits a job."""
    container = {
        "name": "submitter",
        "image": "registry.example.com/hydra-ray:0.1.0",
        "securityContext": CONTAINER,
        "resources": {kind: {"cpu": "200m", "memory": "512Mi"} for kind in ("requests", "limits")},
    }
    return {"spec": {"restartPolicy": "Never", "securityContext": POD, "containers": [container]}}


def job() -> dict[str, Any]:
    """What learns."""
    settings = "/etc/hydra-ray/settings.yaml"
    commands = f"hydra-ray collect {settings} users=train && hydra-ray train {settings} base.workers=2"
    spec = {
        "entrypoint": f'bash -c "{commands}"',
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 600,
        "backoffLimit": 2,
        "activeDeadlineSeconds": 7200,
        "preRunningDeadlineSeconds": 600,
        "submitterPodTemplate": submitter(),
        "rayClusterSpec": cluster("learning"),
    }
    metadata = {"name": "learn", "labels": {"kueue.x-k8s.io/queue-name": "learning"}}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}


def cron_job() -> dict[str, Any]:
    """What fits heads every night."""
    rules = [
        {"policy": policy, "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": seconds}}
        for policy, seconds in (("DeleteCluster", 60), ("DeleteSelf", 600))
    ]
    template = {
        "entrypoint": "hydra-ray fit /etc/hydra-ray/settings.yaml users=dev",
        "deletionStrategy": {"deletionRules": rules},
        "submitterPodTemplate": submitter(),
        "rayClusterSpec": cluster("learning"),
    }
    spec = {"schedule": "0 3 * * *", "timeZone": "Europe/Berlin", "jobTemplate": template}
    return {"apiVersion": "ray.io/v1", "kind": "RayCronJob", "metadata": {"name": "refit"}, "spec": spec}


def checked(given: Objects, folder: Path, elsewhere: Sequence[str] = ()) -> Report:
    """What a check says of objects that are in one file, `all.yaml`."""
    file = folder / "all.yaml"
    file.write_text(yaml.safe_dump_all(list(given.values())), encoding="utf-8")
    return check([file], None, elsewhere, typer.main.get_command(app))


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change that puts a value at a path of keys and places, e.g. `spec.ports.0.port`."""

    def change(tree: Any) -> None:
        *steps, last = path.split(".")
        for step in steps:
            tree = tree[int(step) if isinstance(tree, list) else step]
        tree[int(last) if isinstance(tree, list) else last] = value

    return change


def drop(path: str) -> Callable[[dict[str, Any]], None]:
    """A change that takes out what is at a path."""

    def change(tree: Any) -> None:
        *steps, last = path.split(".")
        for step in steps:
            tree = tree[int(step) if isinstance(tree, list) else step]
        del tree[int(last) if isinstance(tree, list) else last]

    return change
