"""Heads in memory: the ones used last, never older than the store's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from hydra_ray.bounded import BoundedCache, not_counted
from hydra_ray.models.heads import Head
from hydra_ray.records import UserKey
from hydra_ray.store.protocol import Store
from hydra_ray.store.types import StoredHead

# Measured: a head of 608 bytes takes 3.7 KB of memory.
OVERHEAD = 3_100


class HeadCache:
    """The heads of one role and version that were used last.

    Each call asks the store, once for all its users, for the stamps of their heads: a head that was
    written, refitted or deleted a moment ago, by whatever process, is seen at once. Only what changed
    is read.

    Args:
        store: Where heads are.
        version: Version of the base.
        role: Reranker or adapter.
        max_bytes: Most bytes of the heads kept: their parameters, and 3 KB each for what Python holds around them.
        noted: Called with the numbers of heads that were found here and that were read.
        aged: Called for each head that is given with the seconds since it was written, where these are known.
    """

    def __init__(
        self,
        store: Store,
        version: str,
        role: str,
        max_bytes: int,
        noted: Callable[[int, int], None] = not_counted,
        aged: Callable[[float], None] = lambda age_s: None,
    ) -> None:
        self._store, self._version, self._role, self._noted, self._aged = store, version, role, noted, aged
        self._kept: BoundedCache[UserKey, StoredHead] = BoundedCache(max_bytes)

    @property
    def nbytes(self) -> int:
        """Bytes of the heads kept now."""
        return self._kept.nbytes

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, keys: Sequence[UserKey | None]) -> list[Head | None]:
        """Return each user's head; None for nobody and for users without one. One user's heads are one object."""
        wanted = {key for key in keys if key is not None}
        stamps = self._store.stamps(wanted, self._version, self._role) if wanted else {}
        found = {key: kept for key, stamp in stamps.items() if (kept := self._kept.get(key)) and kept.stamp == stamp}
        if changed := set(stamps) - set(found):
            read = self._store.heads(changed, self._version, self._role)
            for key, kept in read.items():
                self._kept.put(key, kept, kept.head.nbytes + OVERHEAD)
            found |= read
        self._noted(len(found) - len(changed), len(changed))
        for key in wanted - set(found):
            self._kept.drop(key)
        given = [None if key is None else found.get(key) for key in keys]
        now = time.time()
        for one in given:
            if one is not None and one.written_at is not None:
                # Other machines write heads by clocks of their own.
                self._aged(max(0.0, now - one.written_at))
        return [None if one is None else one.head for one in given]
