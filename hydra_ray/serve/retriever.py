"""Hosts the retriever: a user's history out of the store, and that of users like them, ranked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ray import serve

from hydra_ray.records import HistoryItem, PeerItem, Query, Ranked
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.serve.observe.metrics import Metrics
from hydra_ray.settings import PeerSettings
from hydra_ray.steps.index.histories import IndexedHistories
from hydra_ray.steps.index.pools import FreshPools
from hydra_ray.steps.profiles.peers import PeerPool
from hydra_ray.steps.retrieval.embed import Embed
from hydra_ray.steps.retrieval.retrievers import retriever
from hydra_ray.store.backends import open_store
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.rights.peers import is_open_to_peers


# A ranking takes milliseconds: 32 in threads keep a core busy, and 256 wait under a second.
@serve.deployment(max_ongoing_requests=32, max_queued_requests=256, ray_actor_options={"num_cpus": 0.2})
class Retriever:
    """Ranks histories as they are in the store when a request comes, so what a user did a moment ago counts.

    Who is similar to whom is as old as `peers.refresh_s` says. What peers said is returned only as it still
    stands in the store, and of those who are personalised themselves, so what somebody deleted is gone at once.

    Args:
        store: Store that keeps the users' histories.
        peers: Settings that say which tenants opted in.
        embed: Gives the vectors that dense retrieval and the search for peers compare.
        index_cache_mb: Most memory of the histories and indexes that are kept, in MiB.
        stemmer: Language whose endings are cut off words in searches; None cuts none.
    """

    def __init__(
        self, store: StoreTarget | str, peers: PeerSettings, embed: Embed, index_cache_mb: int, stemmer: str | None
    ) -> None:
        use_given_cpus()
        self._store = open_store(store)
        self._histories = IndexedHistories(
            self._store, index_cache_mb << 20, stemmer, Metrics((), ()).lookups("indexes")
        )
        self._settings = peers
        self._embed, self._stemmer = embed, stemmer
        self._pools = FreshPools(self._make_pool, peers.refresh_s)

    async def __call__(self, query: Query, k: int, by: str) -> list[Ranked]:
        """At most k items of the query's user, best first; none for an unknown user, and none for nobody."""
        if query.user.is_nobody:
            return []
        history = await self._histories.of(query.user)
        with self._histories.short_work():
            return await asyncio.to_thread(retriever(by, self._embed, self._stemmer), query, history, k)

    async def ready(self) -> None:
        """Answers while this replica takes requests."""

    async def peers(self, query: Query, k: int) -> list[Ranked]:
        """At most k items of users similar to the query's, best first; none where the tenant did not opt in."""
        if query.user.is_nobody or query.user.tenant not in self._settings.tenants:
            return []
        pool = await self._pools.of(query.user.tenant)
        history = await self._histories.of(query.user)
        return await asyncio.to_thread(self._of_peers, pool, query, history, k)

    def _make_pool(self, tenant: str) -> PeerPool:
        pool = PeerPool(self._store.histories(tenant), self._embed, self._settings.tenants)
        pool.prepare(tenant)
        return pool

    def _of_peers(self, pool: PeerPool, query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
        def still_there(peer: PeerItem) -> bool:
            return is_open_to_peers(self._store, peer)

        return pool.concerning(query, history, self._settings.similar_users, k, query.ts, still_there)
