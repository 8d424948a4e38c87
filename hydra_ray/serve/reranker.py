"""Hosts the reranker."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ray import serve

from hydra_ray.models.base import RERANKER, read_about
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import Query, Ranked, UserKey
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.steps.rerank import Reranker as RerankStep
from hydra_ray.steps.rerank import RerankRequest
from hydra_ray.store.backends import open_store
from hydra_ray.store.cache import HeadCache
from hydra_ray.store.connections.target import StoreTarget

RerankCall = tuple[Query, tuple[Ranked, ...], UserKey | None]


# Two batches of 16 in flight, one computing while the next gathers; a longer queue would only time out.
@serve.deployment(max_ongoing_requests=32, max_queued_requests=128, ray_actor_options={"num_cpus": 0.5})
class Reranker:
    """Orders histories under their users' heads, many requests at a time."""

    def __init__(
        self, base_dir: Path, store: StoreTarget | str, rank_weight: float | None, head_cache_mb: int, precision: str
    ) -> None:
        use_given_cpus()
        version, _ = read_about(base_dir)
        self._heads = HeadCache(open_store(store), version, RERANKER, head_cache_mb << 20)
        self._step = RerankStep(Scorer.load(base_dir / RERANKER, precision), rank_weight)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002)
    async def __call__(self, asks: list[RerankCall]) -> list[list[Ranked]]:
        """Most useful items first."""
        return await asyncio.to_thread(self._rerank, asks)

    def _rerank(self, asks: list[RerankCall]) -> list[list[Ranked]]:
        heads = self._heads([key for *_, key in asks])
        return self._step(
            [RerankRequest(query, ranked, head) for (query, ranked, _), head in zip(asks, heads, strict=True)]
        )
