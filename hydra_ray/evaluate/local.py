"""The ports of a method, plugged with steps in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from hydra_ray.methods import Ports, Recipe
from hydra_ray.models.base import ADAPTER, RERANKER, Base
from hydra_ray.models.heads import Head
from hydra_ray.records import Candidate, Choice, Dataset, Query, Ranked, UserKey
from hydra_ray.steps.adapt import AdaptAsk, Adapter
from hydra_ray.steps.batching import MicroBatcher
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.rerank import RerankAsk, Reranker
from hydra_ray.steps.retrieve import RETRIEVERS

# Queries; the decisions scored in one go are about ten times as many.
_BATCH = 16
# Methods and controls judge the same texts under different heads: 100,000 encodings of width 384 are 150 MB.
_REMEMBERED = 100_000


class HeadSource(Protocol):
    """Where users' heads are read from."""

    def head(self, key: UserKey, version: str, role: str) -> Head | None:
        """As `UserStore.head`."""
        ...


class LocalSteps:
    """Steps over one data set and one trained base.

    Args:
        dataset: Gives each query the history that it may see.
        base: Scores; None for methods that only prompt.
        heads: Where users' heads are: a `UserStore`, or what has its `head`.
        recipe: Weights of the priors.
    """

    def __init__(self, dataset: Dataset, base: Base | None, heads: HeadSource | None, recipe: Recipe) -> None:
        self._dataset = dataset
        self._users = {user.key: user for user in dataset.users}
        self._base = base
        self._store = heads
        self._heads: dict[tuple[UserKey, str], Head | None] = {}
        if base is not None:
            for scorer in (base.reranker, base.adapter):
                scorer.encoder.remember(_REMEMBERED)
            self._reranker = MicroBatcher(Reranker(base.reranker, recipe.rank_weight), _BATCH)
            self._adapter = MicroBatcher(Adapter(base.adapter, recipe.vote_weight), _BATCH)

    def ports(self, generator: Generator) -> Ports:
        """The ports of a method."""
        return Ports(self.retrieve, self.rerank, generator, self.adapt)

    async def retrieve(self, query: Query, k: int, by: str) -> list[Ranked]:
        """Ranks what the query may see of its user's history."""
        history = self._dataset.history(self._users[query.user], query)
        return await asyncio.to_thread(RETRIEVERS[by], query, history, k)

    async def rerank(self, query: Query, ranked: Sequence[Ranked], head: UserKey | None) -> list[Ranked]:
        """Orders history under a user's head."""
        return await self._reranker(RerankAsk(query, tuple(ranked), self.head(head, RERANKER)))

    async def adapt(
        self, query: Query, candidates: Sequence[Candidate], evidence: Sequence[str], head: UserKey | None
    ) -> Choice:
        """Orders candidates under a user's head."""
        own = self.head(head, ADAPTER)
        ordered = await self._adapter(AdaptAsk(query, tuple(candidates), tuple(evidence), own))
        return Choice(tuple(ordered), personal=own is not None)

    def head(self, key: UserKey | None, role: str) -> Head | None:
        """A user's head; None for nobody, or a user without one."""
        if key is None or self._base is None or self._store is None:
            return None
        if (key, role) not in self._heads:
            self._heads[key, role] = self._store.head(key, self._base.version, role)
        return self._heads[key, role]
