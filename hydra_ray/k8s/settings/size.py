"""What `hydra-ray k8s size` takes for granted of users and of how they are served, unless somebody says otherwise."""

from __future__ import annotations

from pydantic import Field

from hydra_ray.settings.section import Section


class SizeSettings(Section):
    """How much users ask, how well they are to be served, and what a core costs."""

    requests_a_day: float = Field(5.0, ge=0, le=86_400, allow_inf_nan=False, description="Requests of a user a day.")
    peak: float = Field(3.0, ge=1, le=1_000, allow_inf_nan=False, description="Busiest hour's rate to the mean.")
    core_price: float = Field(
        0.04, ge=0, le=1e9, allow_inf_nan=False, description="Price of a core for an hour, in any currency."
    )
    busy: float = Field(
        0.7, ge=0.05, le=0.95, allow_inf_nan=False, description="Most share of its time that a replica works."
    )
    waiting: float = Field(
        1.0,
        ge=0.01,
        le=1_000,
        allow_inf_nan=False,
        description="Longest mean wait for a replica, in units of its work on a request.",
    )
