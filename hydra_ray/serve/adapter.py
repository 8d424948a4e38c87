"""Hosts the adapter."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ray import serve

from hydra_ray.models.base import ADAPTER, read_about
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import Candidate, Choice, Query, UserKey
from hydra_ray.steps.adapt import AdaptAsk
from hydra_ray.steps.adapt import Adapter as AdaptStep
from hydra_ray.store.users import UserStore

Ask = tuple[Query, tuple[Candidate, ...], tuple[str, ...], UserKey | None]


# As the reranker: two batches of 16 in flight.
@serve.deployment(max_ongoing_requests=32, max_queued_requests=128, ray_actor_options={"num_cpus": 0.5})
class Adapter:
    """Chooses candidates under their users' heads, many requests at a time."""

    def __init__(self, base_dir: Path, store_url: str, vote_weight: float) -> None:
        self._version, _ = read_about(base_dir)
        self._store = UserStore(store_url)
        self._step = AdaptStep(Scorer.load(base_dir / ADAPTER), vote_weight)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002)
    async def __call__(self, asks: list[Ask]) -> list[Choice]:
        """Best candidate first."""
        return await asyncio.to_thread(self._adapt, asks)

    def _adapt(self, asks: list[Ask]) -> list[Choice]:
        heads = [self._store.head(key, self._version, ADAPTER) if key else None for *_, key in asks]
        ordered = self._step(
            [
                AdaptAsk(query, candidates, evidence, head)
                for (query, candidates, evidence, _), head in zip(asks, heads, strict=True)
            ]
        )
        return [Choice(tuple(best), head is not None) for best, head in zip(ordered, heads, strict=True)]
