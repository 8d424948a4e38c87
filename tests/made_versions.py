"""Published versions of tests: of made-up bases, or of small files that nobody loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_ray.registry import Manifest, Registry
from hydra_ray.registry.manifest import Probes, now
from hydra_ray.tasks import TASKS

FILES = {"base.json": b"{}", "adapter/heads.safetensors": b"a" * 3000, "reranker/heads.safetensors": b"r" * 3000}
PROBES = Probes(precision="float32", decisions=(("yes", "is it?", ()),), scores=(1.0,))


def about(version: str, **other: Any) -> Manifest:
    """The manifest of a version that nobody loads."""
    fields: dict[str, Any] = {
        "created": now(),
        "task_values": TASKS["demo"].to_json(),
        "settings": {},
        "users": 0,
        "metrics": {},
        "parent": None,
        "probes": {"reranker": PROBES, "adapter": PROBES},
    }
    return Manifest(version=version, **{**fields, **other})


def publish_files(registry: Registry, version: str, files: Mapping[str, bytes] = FILES, **other: Any) -> Manifest:
    """Publish some files as a version."""

    def write(folder: Path) -> None:
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)

    return registry.publish(about(version, **other), write)
