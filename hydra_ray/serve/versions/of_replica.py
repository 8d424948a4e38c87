"""What reranker and adapter make of settings and batches, where several versions are held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hydra_ray.registry import Manifest
from hydra_ray.runtime.models import open_catalog
from hydra_ray.serve.observe.metrics import metrics_of
from hydra_ray.serve.observe.names import MODEL_VERSIONS
from hydra_ray.serve.versions.held import HeldVersions, HoldLimits
from hydra_ray.settings import Settings

Loaded = TypeVar("Loaded")
Call = TypeVar("Call")
Reply = TypeVar("Reply")


def versions_of(settings: Settings, role: str, load: Callable[[Manifest, Path], Loaded]) -> HeldVersions[Loaded]:
    """Make what a replica of a role holds; what became of versions is a metric of the cluster."""
    metrics = metrics_of(settings)

    def observe(became: str) -> None:
        metrics.note(MODEL_VERSIONS, role=role, became=became)

    # A request asks its generator once, and a few other steps.
    keep_s = settings.serve.generator_timeout_s + 4 * settings.serve.step_timeout_s
    limits = HoldLimits(settings.registry.loaded, settings.registry.poll_s, keep_s)
    return HeldVersions(open_catalog(settings), role, load, limits, observe)


def by_version(
    answer: Callable[[Any, Sequence[Call]], list[Reply]], asks: Sequence[Call], held: Sequence[Any]
) -> list[Reply]:
    """Answer a batch whose requests are of several versions, those of one version together.

    Args:
        answer: Answers requests by one version.
        asks: The requests.
        held: Version of each.

    Returns:
        Replies in the order of the requests.
    """
    places: dict[int, list[int]] = {}
    for place, version in enumerate(held):
        places.setdefault(id(version), []).append(place)
    replies: dict[int, Reply] = {}
    for mine in places.values():
        replies.update(zip(mine, answer(held[mine[0]], [asks[place] for place in mine]), strict=True))
    return [replies[place] for place in range(len(asks))]
