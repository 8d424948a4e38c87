"""Hosts the adapter."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ray import serve

from hydra_ray.learn.heads.feedback_events import FeedbackEvent
from hydra_ray.learn.heads.online import Forgotten, Learnt, OnlineLearner
from hydra_ray.logs import set_up_logging
from hydra_ray.models.base import ADAPTER, read_about
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import Candidate, Choice, Query, UserKey
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.settings import Settings
from hydra_ray.steps.adapt import Adapter as AdaptStep
from hydra_ray.steps.adapt import AdaptRequest
from hydra_ray.store.backends import open_store
from hydra_ray.store.cache import HeadCache

AdaptCall = tuple[Query, tuple[Candidate, ...], tuple[str, ...], UserKey | None]


# As the reranker: two batches of 16 in flight.
@serve.deployment(max_ongoing_requests=32, max_queued_requests=128, ray_actor_options={"num_cpus": 0.5})
class Adapter:
    """Chooses candidates under their users' heads, many requests at a time, and teaches those heads."""

    def __init__(self, base_dir: Path, settings: Settings) -> None:
        set_up_logging(settings.logging)
        use_given_cpus()
        version, task = read_about(base_dir)
        store, scorer = (
            open_store(settings.store_target),
            Scorer.load(base_dir / ADAPTER, settings.base.encoder.precision),
        )
        self._heads = HeadCache(store, version, ADAPTER, settings.serve.head_cache_mb << 20)
        self._step = AdaptStep(
            scorer, settings.method.vote_weight, task if settings.method.decide == "expected" else None
        )
        self._learner = OnlineLearner(store, version, task, scorer, settings)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002)
    async def __call__(self, asks: list[AdaptCall]) -> list[Choice]:
        """Best candidate first."""
        return await asyncio.to_thread(self._adapt, asks)

    async def learn(
        self, user: UserKey, event: FeedbackEvent, history_answers: tuple[str, ...], deletions: int
    ) -> Learnt:
        """Learns from what a user said of an answer, unless they were deleted more often than so."""
        return await asyncio.to_thread(self._learner.learn, user, event, history_answers, deletions)

    async def forget(self, user: UserKey, item_id: str) -> Forgotten:
        """Forgets an item of a user's history."""
        return await asyncio.to_thread(self._learner.forget, user, item_id)

    def _adapt(self, asks: list[AdaptCall]) -> list[Choice]:
        heads = self._heads([key for *_, key in asks])
        ordered = self._step(
            [
                AdaptRequest(query, candidates, history_answers, head)
                for (query, candidates, history_answers, _), head in zip(asks, heads, strict=True)
            ]
        )
        return [Choice(tuple(best), head is not None) for best, head in zip(ordered, heads, strict=True)]
