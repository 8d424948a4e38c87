"""Finds a local LLM's checkpoint."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from hydra_ray.records import HydraError

DEMO_CHECKPOINT = Path(str(files("hydra_ray.data") / "demo_generator"))


def checkpoint_folder(model: str) -> Path:
    """Return the folder of a checkpoint; `demo` is the demo's own.

    Raises:
        HydraError: There is none.
    """
    folder = DEMO_CHECKPOINT if model == "demo" else Path(model)
    if not (folder / "config.json").is_file():
        raise HydraError(f"generator.model: {folder} holds no checkpoint (config.json is missing)")
    return folder
