"""Files of a pod: which volume a path is in, and what a ConfigMap puts there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.reading.objects import dig, items, mapping, mappings, text
from hydra_ray.k8s.check.relations.known import Known


@dataclass(frozen=True, slots=True)
class MountedFile:
    """A file of a ConfigMap, as a pod has it.

    Attributes:
        config_map: Name of the ConfigMap.
        key: Key of its data; empty where the ConfigMap puts no such file there.
        content: What is in it; None where that is not known.
    """

    config_map: str
    key: str
    content: str | None


def mount_of(pod: Pod, path: PurePosixPath) -> dict[str, Any] | None:
    """Return the mount of the pod's first container that a path is in, None where it is in the image."""
    _, container = pod.containers[0]
    inside = [
        mount
        for _, mount in mappings(container.get("volumeMounts"))
        if path.is_relative_to(PurePosixPath(text(mount.get("mountPath")) or "/nowhere"))
    ]
    return dict(max(inside, key=lambda mount: len(text(mount["mountPath"])))) if inside else None


def volume_of(pod: Pod, mount: Any) -> dict[str, Any]:
    """Return the volume that a mount names, an empty one where there is none."""
    name = mapping(mount).get("name")
    return next((dict(one) for _, one in mappings(pod.spec.get("volumes")) if one.get("name") == name), {})


def absolute(pod: Pod, path: PurePosixPath) -> PurePosixPath | None:
    """Return a path as the pod's first container takes it, None where its working folder is the image's."""
    if path.is_absolute():
        return path
    folder = text(pod.containers[0][1].get("workingDir"))
    return PurePosixPath(folder) / path if folder.startswith("/") else None


def mounted_file(pod: Pod, path: PurePosixPath, known: Known) -> MountedFile | None:
    """Return a file that a ConfigMap gives a pod; None for a path that no ConfigMap is mounted at."""
    mount = mount_of(pod, path)
    source = mapping(volume_of(pod, mount).get("configMap"))
    if mount is None or not source:
        return None
    name = text(source.get("name"))
    inside = str(path.relative_to(text(mount["mountPath"])))
    sub_path = text(mount.get("subPath"))
    inside = sub_path if sub_path and inside == "." else inside
    by_path = {text(one.get("path")): text(one.get("key")) for _, one in mappings(source.get("items"))}
    key = by_path.get(inside, "") if items(source.get("items")) else inside
    has = known.keys("ConfigMap", name)
    if has is None:
        return MountedFile(name, key, None)
    if key not in has:
        return MountedFile(name, "", None)
    content = dig(known.things["ConfigMap", name].tree, "data", key)
    return MountedFile(name, key, content if isinstance(content, str) else None)
