"""Settings of what the application does about steps that fail."""

from __future__ import annotations

from pydantic import Field

from hydra_ray.settings.section import Section


class BreakerSettings(Section):
    """When a step that fails is no longer asked, so that it costs nobody its time-out."""

    failures: int = Field(5, ge=1, description="Failures in a row after which a step is not asked for a while.")
    open_s: float = Field(10, gt=0, description="For how long; then one request tries whether it answers again.")
