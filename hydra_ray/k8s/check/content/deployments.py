"""The deployments of hydra-ray's application, with what the code says of each."""

from __future__ import annotations

from typing import Any


def our_deployments() -> dict[str, Any]:
    """Return all deployments that the application may have, by name; each is a `ray.serve.Deployment`."""
    from ray.serve import Deployment

    from hydra_ray.serve import app

    return {one.name: one for one in vars(app).values() if isinstance(one, Deployment)}
