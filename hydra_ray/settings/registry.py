"""Settings of the registry of models."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import Field

from hydra_ray.settings.section import Section


class RegistrySettings(Section):
    """Where versions of the base are published, and how a running service takes one up."""

    url: str | None = Field(
        None,
        description="Folder or URI, e.g. s3://bucket/models, of published versions; null: <model.dir>/registry.",
    )
    cache: Path | None = Field(
        None,
        description="Folder of each machine for versions of a registry elsewhere; null: ~/.cache/hydra-ray/models.",
    )
    min_heads: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Share of the users with a head on the version served whom `model promote` wants fitted anew.",
    )
    poll_s: float = Field(2, gt=0, description="A running service looks for a promotion so often.")
    loaded: int = Field(3, ge=2, description="Versions that a replica keeps in memory at most.")


def absolute_url(url: str) -> str:
    """Return a registry's URL so that it means the same in every folder."""
    return url if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", url) else str(Path(url).resolve())


def user_cache() -> Path:
    """Return the folder of this machine's user for what can be had again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hydra-ray"
