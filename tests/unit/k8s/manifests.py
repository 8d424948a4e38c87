"""Manifests as they are rendered, and where in them things are."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hydra_ray.k8s.render import render
from hydra_ray.k8s.settings import PROFILES, load_cluster_settings
from hydra_ray.settings import Settings, load_settings, parse_settings

ROOT = Path(__file__).parents[3]
# Where the jobs' commands find their settings.
SETTINGS = "/etc/hydra-ray/settings.yaml"
# Where each kind of KubeRay's keeps its Ray cluster.
CLUSTERS = {"RayService": "rayClusterConfig", "RayJob": "rayClusterSpec"}

__all__ = ["CLUSTERS", "PROFILES", "ROOT", "SETTINGS", "Manifests", "amount", "rendered"]


@dataclass(frozen=True)
class Manifests:
    """All objects of one render.

    Attributes:
        objects: As plain values.
    """

    objects: list[dict[str, Any]]

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """The objects of a kind, by name."""
        return {thing["metadata"]["name"]: thing for thing in self.objects if thing["kind"] == kind}

    def one(self, kind: str, name: str = "") -> dict[str, Any]:
        """The only object of its kind, or the one whose name ends so."""
        (found,) = (thing for found, thing in self.all(kind).items() if found.endswith(name))
        return found

    def clusters(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every Ray cluster: whose it is, and its spec."""
        for kind, key in CLUSTERS.items():
            yield from ((f"{kind} {name}", thing["spec"][key]) for name, thing in self.all(kind).items())

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every pod template: a name that says where, and its spec."""
        for where, cluster in self.clusters():
            yield f"{where} head", cluster["headGroupSpec"]["template"]["spec"]
            for group in cluster["workerGroupSpecs"]:
                yield f"{where} {group['groupName']}", group["template"]["spec"]
        for name, job in self.all("RayJob").items():
            yield f"RayJob {name} submitter", job["spec"]["submitterPodTemplate"]["spec"]
        for name, pod in self.all("Pod").items():
            yield f"Pod {name}", pod["spec"]
        for name, job in self.all("CronJob").items():
            yield f"CronJob {name}", job["spec"]["jobTemplate"]["spec"]["template"]["spec"]

    def group(self, name: str, job: str = "") -> dict[str, Any] | None:
        """A worker group of the service, or of a job; None where there is none of that name."""
        thing = self.one("RayJob", job) if job else self.one("RayService")
        groups = thing["spec"][CLUSTERS[thing["kind"]]]["workerGroupSpecs"]
        return next((group for group in groups if group["groupName"] == name), None)

    @property
    def serve_config(self) -> dict[str, Any]:
        """What the RayService hands to Serve."""
        return yaml.safe_load(self.one("RayService")["spec"]["serveConfigV2"])

    def served(self, name: str = "hydra") -> Settings:
        """Settings of one application that is served."""
        (args,) = (one["args"] for one in self.serve_config["applications"] if one["name"] == name)
        return parse_settings(args, name)

    def commands(self, folder: Path) -> dict[str, Settings]:
        """What each job's command is given: its settings file, read as in the pod, and its overrides.

        Args:
            folder: The file is written there.
        """
        file = folder / "settings.yaml"
        file.write_text(self.one("ConfigMap", self.settings_name)["data"]["settings.yaml"], encoding="utf-8")
        found = {}
        for job in self.all("RayJob").values():
            program, name, path, *rest = shlex.split(job["spec"]["entrypoint"])
            assert (program, path) == ("hydra-ray", SETTINGS)
            found[name] = load_settings(file, [word for word in rest if "=" in word])
        return found

    @property
    def settings_name(self) -> str:
        """Name of the ConfigMap with the jobs' settings."""
        (name,) = (name for name in self.all("ConfigMap") if re.fullmatch(r"[a-z-]+-settings-[0-9a-f]{10}", name))
        return name


@functools.cache
def rendered(profile: str, *overrides: str) -> Manifests:
    """What a profile is with some settings over its own."""
    files = render(load_cluster_settings(profile, overrides))
    texts = [text for path, text in files.items() if not path.endswith("kustomization.yaml")]
    return Manifests([thing for text in texts for thing in yaml.safe_load_all(text)])


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The only container of a pod."""
    (found,) = pod["containers"]
    return found


def gpus(pod: dict[str, Any]) -> int:
    """GPUs of a pod, by what it may use at most."""
    return int(container(pod)["resources"]["limits"].get("nvidia.com/gpu", 0))


def cpus(pod: dict[str, Any]) -> int:
    """CPUs of a pod's Ray node: KubeRay counts the limit, in whole ones."""
    return int(container(pod)["resources"]["limits"]["cpu"])


def amount(quantity: str) -> float:
    """A quantity of Kubernetes as a number."""
    number, unit = re.fullmatch(r"(\d+)(m|Mi|Gi|Ti|)", quantity).groups()
    return int(number) * {"m": 1e-3, "": 1, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}[unit]
