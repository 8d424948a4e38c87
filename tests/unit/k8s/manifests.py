"""The manifests as kustomize renders them, and where in them things are."""

from __future__ import annotations

import functools
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hydra_ray.settings import Settings, load_settings, parse_settings

ROOT = Path(__file__).parents[3]
OVERLAYS = ("base", "overlays/gpu", "overlays/dev")
# Where the job's commands find their settings.
SETTINGS = "/etc/hydra-ray/settings.yaml"
# Where each kind of ours keeps its Ray cluster.
CLUSTERS = {"RayService": "rayClusterConfig", "RayJob": "rayClusterSpec"}


@dataclass(frozen=True)
class Manifests:
    """All objects of one folder.

    Attributes:
        objects: As plain values.
    """

    objects: list[dict[str, Any]]

    def one(self, kind: str) -> dict[str, Any]:
        """The only object of its kind."""
        (found,) = (thing for thing in self.objects if thing["kind"] == kind)
        return found

    def cluster(self, kind: str) -> dict[str, Any]:
        """The Ray cluster of the RayService or the RayJob."""
        return self.one(kind)["spec"][CLUSTERS[kind]]

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every pod template there is: a name that says where, and its spec."""
        for kind in CLUSTERS:
            yield f"{kind} head", self.cluster(kind)["headGroupSpec"]["template"]["spec"]
            for group in self.cluster(kind)["workerGroupSpecs"]:
                yield f"{kind} {group['groupName']}", group["template"]["spec"]
        yield "RayJob submitter", self.one("RayJob")["spec"]["submitterPodTemplate"]["spec"]

    def group(self, kind: str, name: str) -> dict[str, Any] | None:
        """A worker group, None where there is none of that name."""
        groups = {group["groupName"]: group for group in self.cluster(kind)["workerGroupSpecs"]}
        return groups.get(name)


@functools.cache
def render(folder: str) -> Manifests:
    """What `kubectl kustomize` makes of a folder under `k8s/`; skips the test where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl, which renders the manifests, is not on this machine")
    done = subprocess.run([kubectl, "kustomize", str(ROOT / "k8s" / folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Manifests(list(yaml.safe_load_all(done.stdout)))


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


def serve_config(manifests: Manifests) -> dict[str, Any]:
    """What the RayService hands to Serve."""
    return yaml.safe_load(manifests.one("RayService")["spec"]["serveConfigV2"])


def served(manifests: Manifests, name: str) -> Settings:
    """Settings of one application that is served."""
    (args,) = (a["args"] for a in serve_config(manifests)["applications"] if a["name"] == name)
    return parse_settings(args, name)


def commands(manifests: Manifests, folder: Path) -> dict[str, Settings]:
    """What each command of the job is given: its settings file, read as in the pod, and its overrides.

    Args:
        manifests: With a RayJob.
        folder: The file is written there.
    """
    file = folder / "settings.yaml"
    file.write_text(manifests.one("ConfigMap")["data"]["settings.yaml"], encoding="utf-8")
    *_, script = shlex.split(manifests.one("RayJob")["spec"]["entrypoint"])
    found = {}
    for command in script.split("&&"):
        program, name, path, *overrides = shlex.split(command)
        assert (program, path) == ("hydra-ray", SETTINGS)
        found[name] = load_settings(file, overrides)
    return found
