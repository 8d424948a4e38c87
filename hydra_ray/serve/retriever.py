"""Hosts the retriever: a user's history out of the store, ranked."""

from __future__ import annotations

import asyncio

from ray import serve

from hydra_ray.records import Query, Ranked
from hydra_ray.steps.retrieve import RETRIEVERS
from hydra_ray.store.users import UserStore


# A ranking takes milliseconds: 32 in threads keep a core busy, and 256 wait under a second.
@serve.deployment(max_ongoing_requests=32, max_queued_requests=256, ray_actor_options={"num_cpus": 0.2})
class Retriever:
    """Histories are read anew for each request, so what a user did a moment ago counts."""

    def __init__(self, store_url: str) -> None:
        self._store = UserStore(store_url)

    async def __call__(self, query: Query, k: int, by: str) -> list[Ranked]:
        """At most k items of the query's user, best first; none for an unknown user."""
        return await asyncio.to_thread(self._rank, query, k, by)

    def _rank(self, query: Query, k: int, by: str) -> list[Ranked]:
        return RETRIEVERS[by](query, self._store.history(query.user), k)
