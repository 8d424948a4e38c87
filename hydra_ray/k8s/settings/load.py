"""From a profile and `path=value` overrides to the settings of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hydra_ray.k8s.settings.cluster import ClusterSettings
from hydra_ray.records import HydraError
from hydra_ray.settings.files.read import apply_override, checked, over, read_tree
from hydra_ray.settings.files.yaml_file import parse_yaml

PROFILES = ("openai", "gpu", "cluster", "dev")


def load_cluster_settings(profile: str, overrides: Sequence[str] = (), file: Path | None = None) -> ClusterSettings:
    """Return the settings of a profile, with those of a file and single ones over them.

    Args:
        profile: Name of the profile.
        overrides: Single settings, as `path=value`; they go over all others.
        file: Settings that go over the profile's; None for none.

    Raises:
        HydraError: There is no such profile; or names every wrong key and value with its path.
    """
    if profile not in PROFILES:
        raise HydraError(f"--profile: there is no {profile!r}; there are {', '.join(PROFILES)}")
    folder = files("hydra_ray.k8s.settings") / "profiles"
    own = {"profile": profile} | parse_yaml((folder / f"{profile}.yaml").read_text(encoding="utf-8"))
    # Who sets one size of a pod keeps the others: what they are depends on whose pod it is.
    tree = over(_sections(), own)
    if file is not None:
        tree = over(tree, read_tree(file))
    for override in overrides:
        apply_override(tree, override)
    return checked(ClusterSettings, tree, str(file) if file else f"profile {profile}")


def _sections() -> dict[str, Any]:
    """The defaults of all sections, as plain values."""
    defaults = {name: field.default for name, field in ClusterSettings.model_fields.items()}
    return {name: value.model_dump() for name, value in defaults.items() if isinstance(value, BaseModel)}
