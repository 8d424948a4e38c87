"""Hosts the counters of quotas: one process counts for all replicas of the ingress."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextvars import Context

from ray import serve

from hydra_ray.logs import set_up_logging
from hydra_ray.serve.ending import ending
from hydra_ray.serve.limits.quotas import Admission, Limited, Quotas, day_of
from hydra_ray.settings import LoggingSettings
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.identity.usage import UsageStore
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import StoreError

log = logging.getLogger(__name__)

# What a process that is killed forgets of the day at most.
_KEEP_EVERY_S = 2.0


# One replica, since each would count for itself. A core counts 15,000 requests a second (`benchmarks/limits.py`), and
# each call brings all of those that came to an ingress meanwhile.
@serve.deployment(num_replicas=1, max_ongoing_requests=1024, ray_actor_options={"num_cpus": 0})
class Limiter:
    """Counts, and keeps what was used of the day in the database.

    Args:
        store: Where the database is, and how to log in.
        logging_settings: Settings of the log of its process.
    """

    def __init__(self, store: StoreTarget, logging_settings: LoggingSettings) -> None:
        set_up_logging(logging_settings)
        self._usage = UsageStore(open_database(store))
        self._quotas = Quotas(time.time, self._usage.of_day(day_of(time.time())))
        self._keeping: asyncio.Task[None] | None = None

    async def count(
        self, asked: Sequence[Sequence[Limited]], answered: Sequence[tuple[Sequence[Limited], int]]
    ) -> list[Admission]:
        """Return which requests may go on, in their order.

        Args:
            asked: Subjects of each request.
            answered: Subjects of requests that were answered, and the tokens that each took.
        """
        if self._keeping is None:
            # In a context of its own: Serve stops what a request has asked of others when the request ends.
            self._keeping = asyncio.create_task(self._keep_now_and_then(), context=Context())
        for limited, tokens in answered:
            self._quotas.charge(limited, tokens)
        return [self._quotas.admit(limited) for limited in asked]

    async def _keep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_EVERY_S)
            day, used = self._quotas.take_changes()
            if used:
                try:
                    await asyncio.to_thread(self._usage.put, day, used)
                except StoreError as error:
                    self._quotas.put_back(used)
                    log.warning("what was used of quotas could not be kept: %s", error)

    def __del__(self) -> None:
        # Serve calls this when a replica is stopped.
        if hasattr(self, "_quotas"):
            ending(self._keep_last)

    def _keep_last(self) -> None:
        day, used = self._quotas.take_changes()
        if not used:
            return
        try:
            self._usage.put(day, used)
        except StoreError as error:
            log.warning("what was used of quotas at last could not be kept: %s", error)
