"""Pools of peers in memory, made anew when they are old."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from hydra_ray.steps.profiles.peers import PeerPool


class FreshPools:
    """Pools of peers by tenant, made off the event loop when first wanted and again when they are old.

    While a pool is made anew the old one answers; who wants the first one waits for it.

    Args:
        make: Makes a tenant's pool; may take minutes.
        refresh_s: Age of a pool at which it is made anew.
    """

    def __init__(self, make: Callable[[str], PeerPool], refresh_s: float) -> None:
        self._make = make
        self._refresh_s = refresh_s
        self._pools: dict[str, PeerPool] = {}
        self._begun: dict[str, float] = {}
        self._making: dict[str, asyncio.Task[None]] = {}

    async def of(self, tenant: str) -> PeerPool:
        """Return the tenant's pool; raise what its making raised where there is none."""
        is_due = tenant not in self._pools or monotonic() - self._begun[tenant] > self._refresh_s
        if is_due and tenant not in self._making:
            self._begun[tenant] = monotonic()
            self._making[tenant] = asyncio.create_task(self._make_anew(tenant))
        if tenant not in self._pools:
            # Shielded: a caller who gives up must not stop what others wait for.
            await asyncio.shield(self._making[tenant])
        return self._pools[tenant]

    async def _make_anew(self, tenant: str) -> None:
        try:
            self._pools[tenant] = await asyncio.to_thread(self._make, tenant)
        finally:
            del self._making[tenant]
