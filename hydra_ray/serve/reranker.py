"""Hosts the reranker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from ray import serve

from hydra_ray.learn.heads.item_encodings import ItemText
from hydra_ray.logs import set_up_logging
from hydra_ray.models.base import RERANKER
from hydra_ray.models.encodings import Encoding
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import HistoryItem, Query, Ranked, UserKey
from hydra_ray.registry import Manifest
from hydra_ray.registry.probes import check_probes
from hydra_ray.runtime.models import used_roles
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.serve.encodings.of_replica import ReplicaEncodings
from hydra_ray.serve.ending import ending
from hydra_ray.serve.observe.metrics import metrics_of
from hydra_ray.serve.versions.of_replica import by_version, versions_of
from hydra_ray.settings import Settings
from hydra_ray.steps.rerank import Reranker as RerankStep
from hydra_ray.steps.rerank import RerankRequest
from hydra_ray.steps.texts import item_text
from hydra_ray.store.backends import open_store
from hydra_ray.store.cache import HeadCache
from hydra_ray.tasks import Task

if TYPE_CHECKING:
    from hydra_ray.models.encoder import TextsEncoder

RerankCall = tuple[Query, tuple[Ranked, ...], UserKey | None]


class Reranked(NamedTuple):
    """The reranker's reply.

    Attributes:
        items: Most useful items first.
        encoding: Encoding of the query, which an adapter with the same encoder need not compute again.
    """

    items: list[Ranked]
    encoding: Encoding | None


@dataclass(frozen=True, slots=True)
class RerankerVersion:
    """One version of the base: its scorer and step, its task, and its users' heads."""

    scorer: Scorer
    step: RerankStep
    task: Task
    heads: HeadCache


# Two batches of 16 in flight, each in a thread of its own: one would leave a second core idle. A longer queue would
# only time out.
@serve.deployment(max_ongoing_requests=32, max_queued_requests=128, ray_actor_options={"num_cpus": 0.5})
class Reranker:
    """Orders histories under their users' heads, many requests at a time, each by the version that it began with."""

    def __init__(self, settings: Settings) -> None:
        set_up_logging(settings.logging)
        use_given_cpus()
        if not torch.cuda.is_available():
            # A processor takes as long for two texts together as for one after the other.
            self._batch.set_batch_wait_timeout_s(0)
        self._settings, self._store = settings, open_store(settings.store_target)
        metrics = metrics_of(settings)
        self._noted, self._aged = metrics.lookups("heads"), metrics.ages(RERANKER)
        self._encodings = ReplicaEncodings(settings, RERANKER, metrics)
        self._versions = versions_of(settings, RERANKER, self._load)
        self._encodings.begin(lambda: self._versions.get(self._versions.production))

    async def __call__(self, ask: RerankCall, version: str | None) -> Reranked:
        """Most useful items first, by a version of the base; None is the one served."""
        with self._encodings.request():
            # Loaded before the batch, which others of another version wait in.
            held = await self._versions.ready(version)
            return await self._batch(ask, held)

    async def encode_ahead(self, user: UserKey, items: tuple[HistoryItem, ...]) -> None:
        """Has new items of a user encoded once no request is here."""
        self._encodings.note(user, items)

    async def ready(self) -> None:
        """Answers while this replica takes requests."""

    async def prepare(self, version: str) -> None:
        """Loads a version where it is not there yet."""
        await self._versions.ready(version)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002, max_concurrent_batches=2)
    async def _batch(self, asks: list[RerankCall], held: list[RerankerVersion]) -> list[Reranked]:
        return await asyncio.to_thread(by_version, self._rerank, asks, held)

    def _rerank(self, version: RerankerVersion, asks: Sequence[RerankCall]) -> list[Reranked]:
        heads, encoder = version.heads([key for *_, key in asks]), version.scorer.encoder
        made = [self._unknown(encoder, query, ranked) for query, ranked, _ in asks]
        ordered = version.step(
            [RerankRequest(query, ranked, head) for (query, ranked, _), head in zip(asks, heads, strict=True)]
        )
        for (query, *_), texts in zip(asks, made, strict=True):
            self._encodings.write(encoder, query.user, texts)
        return [
            Reranked(items, encoder.kept_encoding(query.input))
            for (query, *_), items in zip(asks, ordered, strict=True)
        ]

    def _unknown(self, encoder: TextsEncoder, query: Query, ranked: Sequence[Ranked]) -> list[ItemText]:
        """Return the texts of items that are to be encoded; those in the store are in memory then."""
        texts = {item_text(one.item): one.item for one in ranked}
        return [ItemText(texts[text], text) for text in self._encodings.read(encoder, query.user, texts)]

    def _load(self, manifest: Manifest, folder: Path) -> RerankerVersion:
        used_roles(self._settings, manifest)
        scorer = Scorer.load(folder / RERANKER, self._settings.base.encoder.computing)
        check_probes(manifest.version, RERANKER, scorer, manifest.probes[RERANKER])
        scorer.encoder.remember(self._encodings.kept)
        cache = self._settings.serve.head_cache_mb << 20
        heads = HeadCache(self._store, manifest.version, RERANKER, cache, self._noted, self._aged)
        step = RerankStep(scorer, self._settings.method.rank_weight)
        return RerankerVersion(scorer, step, manifest.task, heads)

    def __del__(self) -> None:
        if hasattr(self, "_versions"):
            ending(self._encodings.close)
            ending(self._versions.close)
