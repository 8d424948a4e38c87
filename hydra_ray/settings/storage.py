"""Settings of the store of users."""

from __future__ import annotations

from pydantic import Field

from hydra_ray.settings.section import Section


class StoreSettings(Section):
    """Where users' histories, heads, observations and profiles are, and for how long."""

    retention_days: int | None = Field(
        None, ge=1, description="Age in days at which `hydra-ray users expire` forgets; null: nothing is too old."
    )
