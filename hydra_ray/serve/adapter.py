"""Hosts the adapter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from ray import serve

from hydra_ray.learn.heads.online import Forgotten, Learnt, OnlineLearner
from hydra_ray.logs import set_up_logging
from hydra_ray.models.base import ADAPTER
from hydra_ray.models.encodings import Encoding
from hydra_ray.models.gate import Gate
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import Candidate, Choice, HistoryItem, Query, UserKey
from hydra_ray.registry import Manifest
from hydra_ray.registry.probes import check_probes
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.serve.encodings.of_replica import ReplicaEncodings
from hydra_ray.serve.ending import ending
from hydra_ray.serve.observe.metrics import metrics_of
from hydra_ray.serve.versions.of_replica import by_version, versions_of
from hydra_ray.settings import Settings
from hydra_ray.steps.adapt import Adapter as AdaptStep
from hydra_ray.steps.adapt import AdaptRequest, all_compete
from hydra_ray.steps.gating import Gating
from hydra_ray.store.backends import open_store
from hydra_ray.store.cache import HeadCache
from hydra_ray.store.types import FeedbackEvent
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)

# With the encoding of the query, where the reranker gave one or it was made ahead.
AdaptCall = tuple[Query, tuple[Candidate, ...], tuple[str, ...], Encoding | None, UserKey | None]


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """One version of the base: its scorer, step and gate, its task, its users' heads, and what teaches them."""

    scorer: Scorer
    step: AdaptStep
    gating: Gating | None
    task: Task
    heads: HeadCache
    learner: OnlineLearner


# As the reranker: two batches of 16 in flight. A request has its query encoded or its candidates chosen from, one after
# the other.
@serve.deployment(max_ongoing_requests=32, max_queued_requests=128, ray_actor_options={"num_cpus": 0.5})
class Adapter:
    """Chooses candidates under their users' heads, many requests at a time, and teaches the heads of what is served."""

    def __init__(self, settings: Settings) -> None:
        set_up_logging(settings.logging)
        use_given_cpus()
        if not torch.cuda.is_available():
            # A processor takes as long for two texts together as for one after the other.
            self._batch.set_batch_wait_timeout_s(0)
            self._encoded.set_batch_wait_timeout_s(0)
        self._settings, self._store = settings, open_store(settings.store_target)
        metrics = metrics_of(settings)
        self._noted, self._aged = metrics.lookups("heads"), metrics.ages(ADAPTER)
        self._encodings = ReplicaEncodings(settings, ADAPTER, metrics)
        self._versions = versions_of(settings, ADAPTER, self._load)
        self._encodings.begin(lambda: self._versions.get(self._versions.production))

    async def __call__(self, ask: AdaptCall, version: str | None) -> Choice:
        """Best candidate first, by a version of the base; None is the one served."""
        with self._encodings.request():
            # Loaded before the batch, which others of another version wait in.
            held = await self._versions.ready(version)
            return await self._batch(ask, held)

    async def encode(self, text: str, version: str | None) -> Encoding | None:
        """Encoding of a query whose candidates are not there yet; None where none are kept.

        Who asks hands it on with the candidates, to whichever replica.
        """
        with self._encodings.request():
            held = await self._versions.ready(version)
            return held.scorer.encoder.kept_encoding(text) or await self._encoded(text, held)

    async def encode_ahead(self, user: UserKey, items: tuple[HistoryItem, ...]) -> None:
        """Has new items of a user encoded once no request is here."""
        self._encodings.note(user, items)

    async def ready(self) -> None:
        """Answers while this replica takes requests."""

    async def prepare(self, version: str) -> None:
        """Loads a version where it is not there yet."""
        await self._versions.ready(version)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002, max_concurrent_batches=2)
    async def _batch(self, asks: list[AdaptCall], held: list[AdapterVersion]) -> list[Choice]:
        return await asyncio.to_thread(by_version, self._adapt, asks, held)

    # Apart from the choices, which somebody waits for.
    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002, max_concurrent_batches=2)
    async def _encoded(self, texts: list[str], held: list[AdapterVersion]) -> list[Encoding | None]:
        return await asyncio.to_thread(by_version, _encode, texts, held)

    async def learn(
        self, user: UserKey, event: FeedbackEvent, history: tuple[HistoryItem, ...], deletions: int
    ) -> Learnt:
        """Learns from what a user said of an answer, unless they were deleted more often than so."""
        with self._encodings.request():
            learner = (await self._versions.ready(None)).learner
            return await asyncio.to_thread(learner.learn, user, event, history, deletions)

    async def forget(self, user: UserKey, item_id: str) -> Forgotten:
        """Forgets an item of a user's history."""
        with self._encodings.request():
            learner = (await self._versions.ready(None)).learner
            return await asyncio.to_thread(learner.forget, user, item_id)

    def _adapt(self, version: AdapterVersion, asks: Sequence[AdaptCall]) -> list[Choice]:
        heads, encoder = version.heads([key for *_, key in asks]), version.scorer.encoder
        unknown = list[list[str]]()
        for query, _, history_answers, encoding, _ in asks:
            if encoding is not None:
                encoder.take(query.input, encoding)
            said = list(dict.fromkeys(answer for answer in history_answers if answer))
            unknown.append(self._encodings.read(encoder, query.user, said))
        requests = [
            AdaptRequest(query, candidates, history_answers, head)
            for (query, candidates, history_answers, *_), head in zip(asks, heads, strict=True)
        ]
        ordered = version.step(requests)
        for (query, *_), answers in zip(asks, unknown, strict=True):
            self._encodings.write_answers(encoder, query.user, answers)
        decide = version.gating or (lambda ask, best: None)
        return [
            Choice(tuple(best), ask.head is not None, decide(ask, best))
            for ask, best in zip(requests, ordered, strict=True)
        ]

    def _load(self, manifest: Manifest, folder: Path) -> AdapterVersion:
        settings, task = self._settings, manifest.task
        scorer = Scorer.load(folder / ADAPTER, settings.base.encoder.computing)
        check_probes(manifest.version, ADAPTER, scorer, manifest.probes[ADAPTER])
        scorer.encoder.remember(self._encodings.kept)
        if all_compete(task, settings.method.allowed_answers):
            # They compete for every query, and the first should not wait for them.
            scorer.encoder.features([(label, "", ()) for label in task.labels])
        step = AdaptStep(scorer, settings.method.vote_weight, task if settings.method.decide == "expected" else None)
        cache = settings.serve.head_cache_mb << 20
        heads = HeadCache(self._store, manifest.version, ADAPTER, cache, self._noted, self._aged)
        learner = OnlineLearner(self._store, manifest.version, task, scorer, settings)
        gate = Gate.load(folder)
        if gate is None:
            # Once a replica and version.
            log.warning("version %s has no gate: hydra answers as hydra-ungated does; train again", manifest.version)
        gating = None if gate is None else Gating(gate, task)
        return AdapterVersion(scorer, step, gating, task, heads, learner)

    def __del__(self) -> None:
        if hasattr(self, "_versions"):
            ending(self._encodings.close)
            ending(self._versions.close)


def _encode(version: AdapterVersion, texts: Sequence[str]) -> list[Encoding | None]:
    encoder = version.scorer.encoder
    encoder.features([(text, "", ()) for text in texts])
    return [encoder.kept_encoding(text) for text in texts]
