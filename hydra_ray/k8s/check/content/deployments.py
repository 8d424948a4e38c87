"""The deployments of hydra-ray's application, with what the code says of each."""

from __future__ import annotations

from typing import Any

from hydra_ray.settings import Settings


def our_deployments() -> dict[str, Any]:
    """Return all deployments that the application may have, by name; each is a `ray.serve.Deployment`."""
    from ray.serve import Deployment

    from hydra_ray.serve import app

    return {one.name: one for one in vars(app).values() if isinstance(one, Deployment)}


def used_deployments(settings: Settings) -> dict[str, Any]:
    """Return those that the application has with these settings."""
    from hydra_ray.serve.app import limits_anything

    is_used = {
        "Limiter": limits_anything(settings),
        "Refitter": settings.fit.refit_items is not None,
        "Reranker": settings.method.rerank,
    }
    return {name: one for name, one in our_deployments().items() if is_used.get(name, True)}
