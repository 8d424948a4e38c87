"""Hosts the reranker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from ray import serve

from hydra_ray.logs import set_up_logging
from hydra_ray.models.base import RERANKER
from hydra_ray.models.encodings import Encoding, KeptEncodings
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import Query, Ranked, UserKey
from hydra_ray.registry import Manifest
from hydra_ray.registry.probes import check_probes
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.serve.ending import ending
from hydra_ray.serve.item_encodings import ItemEncodings
from hydra_ray.serve.observe.metrics import metrics_of
from hydra_ray.serve.versions.of_replica import by_version, versions_of
from hydra_ray.settings import Settings
from hydra_ray.steps.rerank import Reranker as RerankStep
from hydra_ray.steps.rerank import RerankRequest
from hydra_ray.steps.texts import reranker_texts
from hydra_ray.store.backends import open_store
from hydra_ray.store.cache import HeadCache
from hydra_ray.store.schema import open_database
from hydra_ray.store.user_rows.encodings import EncodingStore

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
    """One version of the base: its scorer and step, its users' heads, and the encodings of their items."""

    scorer: Scorer
    step: RerankStep
    heads: HeadCache
    items: ItemEncodings | None


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
        self._encodings = KeptEncodings(settings.serve.encoding_cache_mb << 20, metrics.lookups("encodings"))
        self._items = None
        if settings.serve.store_encodings and settings.serve.encoding_cache_mb:
            store = EncodingStore(open_database(settings.store_target))
            self._items = ItemEncodings(store, self._encodings, metrics.lookups("stored_encodings"))
        self._noted, self._aged = metrics.lookups("heads"), metrics.ages(RERANKER)
        self._versions = versions_of(settings, RERANKER, self._load)

    async def __call__(self, ask: RerankCall, version: str | None) -> Reranked:
        """Most useful items first, by a version of the base; None is the one served."""
        # Loaded before the batch, which others of another version wait in.
        held = await self._versions.ready(version)
        return await self._batch(ask, held)

    async def ready(self) -> None:
        """Answers while this replica takes requests."""

    async def prepare(self, version: str) -> None:
        """Loads a version where it is not there yet."""
        await self._versions.ready(version)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002, max_concurrent_batches=2)
    async def _batch(self, asks: list[RerankCall], held: list[RerankerVersion]) -> list[Reranked]:
        return await asyncio.to_thread(by_version, self._rerank, asks, held)

    @staticmethod
    def _rerank(version: RerankerVersion, asks: Sequence[RerankCall]) -> list[Reranked]:
        heads = version.heads([key for *_, key in asks])
        made = [(query.user, _unknown_items(version, query, ranked)) for query, ranked, _ in asks]
        ordered = version.step(
            [RerankRequest(query, ranked, head) for (query, ranked, _), head in zip(asks, heads, strict=True)]
        )
        for user, texts in made:
            if texts and version.items is not None:
                version.items.write(version.scorer.encoder.fingerprint, user, texts)
        encode = version.scorer.encoder.kept_encoding
        return [Reranked(items, encode(query.input)) for (query, *_), items in zip(asks, ordered, strict=True)]

    def _load(self, manifest: Manifest, folder: Path) -> RerankerVersion:
        scorer = Scorer.load(folder / RERANKER, self._settings.base.encoder.precision)
        check_probes(manifest.version, RERANKER, scorer, manifest.probes[RERANKER])
        scorer.encoder.remember(self._encodings)
        cache = self._settings.serve.head_cache_mb << 20
        heads = HeadCache(self._store, manifest.version, RERANKER, cache, self._noted, self._aged)
        step = RerankStep(scorer, self._settings.method.rank_weight)
        return RerankerVersion(scorer, step, heads, self._items)

    def __del__(self) -> None:
        if hasattr(self, "_versions"):
            ending(self._versions.close)


def _unknown_items(version: RerankerVersion, query: Query, ranked: Sequence[Ranked]) -> dict[str, str]:
    """Return the items that are to be encoded, with what is read of them; those in the store are in memory then."""
    if version.items is None or query.user.is_nobody:
        return {}
    texts = {one.item.id: reranker_texts(query.input, one.item)[0] for one in ranked}
    return version.items.read(version.scorer.encoder.fingerprint, query.user, texts)
