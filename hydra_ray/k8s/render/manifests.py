"""All manifests of a cluster, as files of a folder that `kubectl apply -k` takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_ray.atomic import write_text
from hydra_ray.k8s.render.around import disruption_budgets, namespace, priorities, route, volume
from hydra_ray.k8s.render.jobs import admin, ray_job, refit
from hydra_ray.k8s.render.learning import COMMANDS, config_map, learner
from hydra_ray.k8s.render.monitoring import grafana, pod_monitor, rules
from hydra_ray.k8s.render.network import network_policies
from hydra_ray.k8s.render.service import ray_service
from hydra_ray.k8s.render.serving import served
from hydra_ray.k8s.render.yaml_text import to_file
from hydra_ray.k8s.settings.cluster import ClusterSettings

_EVERYWHERE = ("Namespace", "PriorityClass")
# Begins the line of a file by which the next render knows it.
_MADE = "Made by `hydra-ray k8s render"


def render(cluster: ClusterSettings) -> dict[str, str]:
    """Return the texts of all files by their paths in the folder, in the order in which they are applied.

    Raises:
        HydraError: The settings do not fit together, or with the Serve config.
    """
    service = served(cluster)
    learning = learner(cluster, service)
    settings = config_map(cluster, learning)
    name = settings["metadata"]["name"]
    things: dict[str, tuple[str, Sequence[dict[str, Any]]]] = {
        "foundation/namespace.yaml": (
            "The namespace, whose pods are of the restricted kind, and who gives way where nodes are short of room.",
            [namespace(cluster, service, learning), *priorities(cluster)],
        ),
        "foundation/storage.yaml": (
            "Mounted at /data by every pod: records in, feedback and model out, weights of a hub.",
            [volume(cluster)],
        ),
        "foundation/network.yaml": (
            "Only the gateway, KubeRay's operator, Prometheus and the pods themselves come in; only DNS, the LLM, the "
            "database and the storage that the settings name are reached, and by heads Kubernetes' API.",
            network_policies(cluster, service, learning),
        ),
        "foundation/settings.yaml": ("What jobs learn from and with.", [settings]),
        "service/service.yaml": (
            "Answers: hydra-ray behind an OpenAI-compatible endpoint. It wants the model that the jobs leave.",
            [ray_service(cluster, service)],
        ),
        "service/availability.yaml": (
            "How many pods stay when nodes are emptied.",
            disruption_budgets(cluster, service),
        ),
        "service/route.yaml": ("The way in, from a Gateway that is there.", route(cluster, service)),
        "service/refit.yaml": (
            "Fits heads again from what the store holds: what users said and did since.",
            [refit(cluster, learning, name)],
        ),
        "monitoring/podmonitor.yaml": ("Where Prometheus finds the metrics.", [pod_monitor(cluster, service)]),
        "monitoring/rules.yaml": (
            "Alerts. Each leads to its paragraph in docs/observability.md.",
            [rules(cluster)],
        ),
        "monitoring/dashboard.yaml": ("Grafana's dashboard.", [grafana(cluster)]),
    }
    for command in COMMANDS:
        things[f"jobs/{command.name}.yaml"] = (
            f"`{command.words}`, on a cluster of its own.",
            [ray_job(cluster, learning, command, name)],
        )
    things["jobs/admin.yaml"] = (
        "A pod to type commands in, e.g. `hydra-ray model promote`: apply it, and delete it when you are done.",
        [admin(cluster, learning, name)],
    )
    files = {path: _file(cluster, about, found) for path, (about, found) in things.items() if found}
    return files | {f"{folder}kustomization.yaml": text for folder, text in _kustomizations(list(files)).items()}


def write(files: dict[str, str], folder: Path) -> None:
    """Write files into a folder, and remove manifests of an earlier render that are no longer among them.

    What no render made stays.

    Raises:
        OSError: They cannot be written.
    """
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / path, text)
    for part in {Path(path).parent for path in files}:
        for old in (folder / part).glob("*.yaml"):
            if (part / old.name).as_posix() not in files and _is_ours(old):
                old.unlink()


def _is_ours(file: Path) -> bool:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.startswith(f"# {_MADE}") for line in lines)


def _file(cluster: ClusterSettings, about: str, things: Sequence[dict[str, Any]]) -> str:
    made = f"{_MADE} --profile {cluster.profile}`: change settings, not this file."
    return to_file([about, made], [_placed(cluster, thing) for thing in things])


def _placed(cluster: ClusterSettings, thing: dict[str, Any]) -> dict[str, Any]:
    """An object in its namespace and with the labels of all."""
    metadata = dict(thing["metadata"])
    place = {} if thing["kind"] in _EVERYWHERE else {"namespace": cluster.namespace}
    labels = {"app.kubernetes.io/name": "hydra-ray", "app.kubernetes.io/part-of": cluster.name}
    own = metadata.pop("labels", {})
    metadata = {"name": metadata.pop("name"), **place, "labels": labels | own} | metadata
    return {name: metadata if name == "metadata" else value for name, value in thing.items()}


def _kustomizations(paths: list[str]) -> dict[str, str]:
    """A kustomization for each folder but the jobs, which are begun one by one, and one of foundation and service."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folder, _, file = path.rpartition("/")
        folders.setdefault(folder, []).append(file)
    found = {"": _kustomization("All but jobs and monitoring.", ["foundation", "service"])}
    for folder, files in folders.items():
        if folder != "jobs":
            found[f"{folder}/"] = _kustomization(f"Files of {folder}.", files)
    return found


def _kustomization(about: str, resources: list[str]) -> str:
    thing = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}
    return to_file([about], [thing])
