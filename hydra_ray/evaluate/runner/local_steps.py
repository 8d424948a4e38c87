"""The ports of a method, plugged with steps in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from hydra_ray.data.dataset import Dataset
from hydra_ray.evaluate.runner.profiles import ProfileBook
from hydra_ray.methods import Ports, Recipe
from hydra_ray.methods.ports import ProfileText, StepError
from hydra_ray.models.base import ADAPTER, RERANKER, Base
from hydra_ray.models.encodings import KeptEncodings
from hydra_ray.models.heads import Head
from hydra_ray.records import Candidate, Choice, HistoryItem, HydraError, Query, Ranked, UserKey
from hydra_ray.steps.adapt import Adapter, AdaptRequest
from hydra_ray.steps.batching import MicroBatcher
from hydra_ray.steps.gating import Gating
from hydra_ray.steps.generate import GenerateError, Generator
from hydra_ray.steps.profiles.peers import PeerPool
from hydra_ray.steps.profiles.writer import cut_off
from hydra_ray.steps.rerank import Reranker, RerankRequest
from hydra_ray.steps.retrieval.embed import Embed
from hydra_ray.steps.retrieval.retrievers import retriever

# Queries; the decisions scored in one go are about ten times as many.
_BATCH = 16
# Methods and controls score the same texts under different heads: 100,000 encodings of width 384.
_ENCODING_BYTES = 200_000_000


class HeadSource(Protocol):
    """Source of users' heads."""

    def head(self, key: UserKey, version: str, role: str) -> Head | None:
        """Return a user's head; None for a user without one."""
        ...


class LocalSteps:
    """Steps over one data set and one trained base.

    Args:
        dataset: Data set that gives each query the history that it may see.
        base: Base that scores; None for methods that only prompt.
        heads: Source of users' heads, such as a `Store`; None leaves the shared head alone.
        recipe: Recipe of the methods, which has the weights of the priors.
        similar_users: Number of most similar users whose items are looked at.
        peers: Pool of other users' histories; without it methods go on with the user's own.
        profiles: Book that writes profiles; without it methods go on without profiles.
        embed: Embedder whose vectors dense and hybrid retrieval compare.
    """

    def __init__(
        self,
        dataset: Dataset,
        base: Base | None,
        heads: HeadSource | None,
        recipe: Recipe,
        similar_users: int,
        peers: PeerPool | None = None,
        profiles: ProfileBook | None = None,
        embed: Embed | None = None,
    ) -> None:
        self._dataset = dataset
        self._users = {user.key: user for user in dataset.users}
        self._base = base
        gate = None if base is None else base.gate
        self._gating = None if base is None or gate is None else Gating(gate, base.task)
        self._stemmer = recipe.stemmer
        self._store = heads
        self._peers = peers
        self._similar_users = similar_users
        self._profiles = profiles
        self._embed = embed
        self._heads: dict[tuple[UserKey, str], Head | None] = {}
        self._reranker: MicroBatcher[RerankRequest, list[Ranked]] | None = None
        if base is not None:
            kept = KeptEncodings(_ENCODING_BYTES)
            for role in base.roles:
                base.scorer(role).encoder.remember(kept)
            if recipe.rerank:
                self._reranker = MicroBatcher(Reranker(base.scorer(RERANKER), recipe.rank_weight), _BATCH)
            self._adapter = MicroBatcher(
                Adapter(base.adapter, recipe.vote_weight, base.task if recipe.expected else None), _BATCH
            )

    def ports(self, generator: Generator) -> Ports:
        """Return the ports of a method that asks this generator."""
        ports = Ports(self.retrieve, self.rerank, generator, self.adapt, asks_again=True)
        ports = replace(ports, peers=self.peers) if self._peers else ports
        return replace(ports, profile=self.profile) if self._profiles else ports

    async def retrieve(self, query: Query, k: int, by: str) -> list[Ranked]:
        """Rank what the query may see of its user's history."""
        return await asyncio.to_thread(retriever(by, self._embed, self._stemmer), query, self._history(query), k)

    async def peers(self, query: Query, k: int) -> list[Ranked]:
        """Rank what users similar to the query's said before it."""
        assert self._peers is not None, "the port is plugged only where there is a pool"
        history = self._history(query)
        # A query without a date, of a user whose history is dated, was asked no earlier than its newest item.
        before = query.ts or cut_off(history)
        return await asyncio.to_thread(self._peers.concerning, query, history, self._similar_users, k, before)

    async def profile(self, query: Query, kind: str) -> ProfileText:
        """Return the profile of the query's user, written from what the query may see."""
        assert self._profiles is not None, "the port is plugged only where there is a book"
        try:
            profile = await self._profiles(kind, query.user, self._history(query), query.ts)
        except GenerateError as error:
            # Without a profile that another run would have, the answer would be another method's.
            if not error.final:
                raise
            raise StepError(str(error)) from error
        return ProfileText(profile.text, profile.degraded)

    async def rerank(self, query: Query, ranked: Sequence[Ranked], head: UserKey | None) -> list[Ranked]:
        """Order history under a user's head."""
        self._check_base()
        if self._reranker is None:
            raise StepError("there is no reranker (method.rerank is false)")
        return await self._reranker(RerankRequest(query, tuple(ranked), self.head(head, RERANKER)))

    async def adapt(
        self, query: Query, candidates: Sequence[Candidate], history_answers: Sequence[str], head: UserKey | None
    ) -> Choice:
        """Order candidates under a user's head."""
        self._check_base()
        own = self.head(head, ADAPTER)
        ask = AdaptRequest(query, tuple(candidates), tuple(history_answers), own)
        ordered = await self._adapter(ask)
        decision = self._gating(ask, ordered) if self._gating else None
        return Choice(tuple(ordered), own is not None, decision)

    def head(self, key: UserKey | None, role: str) -> Head | None:
        """Return a user's head; None for nobody, or a user without one."""
        if key is None or self._base is None or self._store is None:
            return None
        if (key, role) not in self._heads:
            self._heads[key, role] = self._store.head(key, self._base.version, role)
        return self._heads[key, role]

    def _check_base(self) -> None:
        if self._base is None:
            raise HydraError("a method that reranks or adapts must say so: its class needs `needs_base = True`")

    def _history(self, query: Query) -> tuple[HistoryItem, ...]:
        return self._dataset.history(self._users[query.user], query)
