"""Hosts the writer of profiles."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from functools import partial
from typing import Any

from ray import serve

from hydra_ray.dates import in_order
from hydra_ray.logs import set_up_logging
from hydra_ray.methods.ports import ProfileText, StepError
from hydra_ray.records import HistoryItem, PeerItem, Query, UserKey
from hydra_ray.runtime.embedding import make_embedder
from hydra_ray.runtime.factory import make_profile_writer
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.serve.faults.breaker import Breaker
from hydra_ray.serve.faults.llm import RemoteGenerator
from hydra_ray.serve.handles import own_handle
from hydra_ray.serve.observe.metrics import metrics_of
from hydra_ray.serve.observe.names import DIFFERENCES, PROFILES
from hydra_ray.settings import Settings
from hydra_ray.steps.index.pools import FreshPools
from hydra_ray.steps.profiles.peers import PeerPool
from hydra_ray.steps.profiles.writer import KINDS
from hydra_ray.store.backends import open_store
from hydra_ray.store.rights.peers import is_open_to_peers
from hydra_ray.tasks import Task

# After a failure a profile is tried again no sooner: each of a user's requests would ask the LLM in vain.
_RETRY_S = 60.0


# Most requests only read a row of the store; those whose profile is being written wait and take no CPU.
@serve.deployment(max_ongoing_requests=64, max_queued_requests=256, ray_actor_options={"num_cpus": 0.1})
class Profiler:
    """Gives profiles out of the store, and has those written that are missing or out of date.

    Args:
        task: Task whose answers the histories hold.
        settings: Settings that say how profiles are written.
        generator: Handle of the generator.
    """

    def __init__(self, task: Task, settings: Settings, generator: Any) -> None:
        set_up_logging(settings.logging)
        use_given_cpus()
        self._metrics = metrics_of(settings)
        self._store = open_store(settings.store_target)
        self._embed = make_embedder(settings)
        self._tenants = settings.of_tenant(settings.tenant).peers.tenants
        self._pools = FreshPools(self._make_pool, settings.peers.refresh_s)
        # Of its own: profiles are written beside requests, and what fails for their long prompts need not for others.
        breaker = Breaker("generator", settings.serve.breaker.failures, settings.serve.breaker.open_s)
        # Each tenant says whether its users' texts may be read for each other's profiles.
        self._writers = {
            tenant: make_profile_writer(
                settings.of_tenant(tenant),
                task,
                RemoteGenerator(own_handle(generator), settings.serve.generator_timeout_s, tenant, breaker),
                self._comparable,
                lambda readable: self._metrics.note(DIFFERENCES, read=readable),
            )
            for tenant in settings.served_tenants
        }
        self._writing: dict[tuple[UserKey, str], asyncio.Task[ProfileText]] = {}

    async def __call__(self, query: Query, kind: str) -> ProfileText:
        """Return the profile of the query's user; an empty one for a user without history.

        Raises:
            HydraError: There is no such kind, or the profile could not be written.
        """
        if kind not in KINDS:
            raise StepError(f"there is no kind of profile {kind!r}")
        if query.user.is_nobody:
            return ProfileText()
        history, known = await asyncio.to_thread(self._look_up, query.user, kind)
        if known is not None:
            return known
        key = query.user, kind
        if key not in self._writing:
            # In a context of its own: Serve stops what a request has asked of others when the request ends.
            writing = self._write_and_keep(*key, history)
            self._writing[key] = asyncio.create_task(writing, context=Context())
            self._writing[key].add_done_callback(partial(self._end, key))
        # Shielded: a request that cannot wait goes on without, and the next one has it.
        return await asyncio.shield(self._writing[key])

    def _look_up(self, user: UserKey, kind: str) -> tuple[Sequence[HistoryItem], ProfileText | None]:
        """Return the user's history, and their profile where it is still of use."""
        history = in_order(self._store.history(user), lambda item: item.ts)
        if not history:
            return history, ProfileText()
        known = self._store.profile(user, kind)
        if known is None or not self._writers[user.tenant].fingerprints.is_fresh(known.fingerprint, kind, history):
            return history, None
        return history, ProfileText(known.text, known.degraded)

    async def _write_and_keep(self, user: UserKey, kind: str, history: Sequence[HistoryItem]) -> ProfileText:
        self._loop = asyncio.get_running_loop()
        profile = await self._writers[user.tenant](kind, user, history)
        differs = KINDS[kind].compares and not profile.degraded
        self._metrics.note(PROFILES, kind=kind, differences="yes" if differs else "no")
        if not await asyncio.to_thread(self._store.put_profiles, [(user, profile)]):
            raise StepError("somebody whose texts the profile tells of was deleted while it was written")
        return ProfileText(profile.text, profile.degraded)

    def _end(self, key: tuple[UserKey, str], task: asyncio.Task[ProfileText]) -> None:
        failed = task.cancelled() or task.exception() is not None
        # What failed stays for a while, and fails for those who ask meanwhile.
        asyncio.get_running_loop().call_later(_RETRY_S if failed else 0, self._writing.pop, key, None)

    def _comparable(
        self, user: UserKey, item: HistoryItem, most: int, before: str | None, floor: float
    ) -> list[PeerItem]:
        """Return what `PeerPool.comparable` does, of items that others may still be shown.

        It waits for asyncio's own threads, which make the pool, so it must be called in another.
        """
        pool = asyncio.run_coroutine_threadsafe(self._pools.of(user.tenant), self._loop).result()
        found = pool.comparable(user, item, most, before, floor)
        return [peer for peer in found if is_open_to_peers(self._store, peer)]

    def _make_pool(self, tenant: str) -> PeerPool:
        pool = PeerPool(self._store.histories(tenant), self._embed, self._tenants)
        pool.prepare(tenant)
        return pool
