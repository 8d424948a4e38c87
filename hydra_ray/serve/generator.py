"""Hosts the black-box LLM, whichever backend it is."""

from __future__ import annotations

from ray import serve

from hydra_ray.learn.assembly import make_generator
from hydra_ray.records import ChatRequest, Generation
from hydra_ray.settings import Settings


# The slowest step: as many in flight as the backend batches by default, and a queue as long as that is
# two batches of work; what comes on top is told to come back later (429).
@serve.deployment(max_ongoing_requests=32, max_queued_requests=64, ray_actor_options={"num_cpus": 0.5})
class Generator:
    """Samples answers."""

    def __init__(self, settings: Settings) -> None:
        self._generator = make_generator(settings)

    async def __call__(self, request: ChatRequest) -> Generation:
        """Up to `request.n` answers; raises `GenerateError` when the LLM gives none."""
        return await self._generator(request)
