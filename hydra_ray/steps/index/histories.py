"""Users' histories with their search indexes in memory: those asked about last, never older than the store's."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hydra_ray.bounded import BoundedCache, not_counted
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.steps.retrieval.retrievers import IndexedHistory, LexicalIndex, searched_text
from hydra_ray.store.protocol import Store
from hydra_ray.store.types import HistoryChange, HistoryVersion

log = logging.getLogger(__name__)

# So many new items are long work: they take a good part of a second, and others' milliseconds go first.
_LONG = 1_000
# After so many texts, 2 ms, long work looks whether somebody is at short work, and rests. Measured on two busy cores
# beside 50,000 items: others wait 19 ms (95th percentile), with 64 texts 36 to 48, without rests 93.
_TEXTS, _REST_S = 16, 0.002
# Measured: a history item takes 134 bytes beside its texts, its places in tuples included.
_ITEM_BYTES = 140


@dataclass(frozen=True, slots=True)
class _Kept:
    version: HistoryVersion | None
    places: tuple[int, ...]
    history: IndexedHistory
    item_bytes: int

    @property
    def nbytes(self) -> int:
        """Memory of items and index, about."""
        return self.item_bytes + self.history.lexical_index.nbytes

    def changed(self, change: HistoryChange, texts: Iterable[str]) -> _Kept:
        """The history after a change; texts are those of the added items."""
        left = None if change.left is None else np.array([place in change.left for place in self.places], bool)
        stays = range(len(self.places)) if left is None else np.flatnonzero(left).tolist()
        gone = [] if left is None else [self.history[row] for row in np.flatnonzero(~left)]
        added = [item for _, item in change.added]
        return _Kept(
            change.version,
            (*(self.places[row] for row in stays), *(place for place, _ in change.added)),
            IndexedHistory(
                (*(self.history[row] for row in stays), *added), self.history.lexical_index.changed(left, texts)
            ),
            self.item_bytes - _item_bytes(gone) + _item_bytes(added),
        )


class IndexedHistories:
    """Histories as they are in the store now.

    Each call asks the store for the version of the history, by whatever process it was written. What was added or taken
    away since is all that is read and indexed. A history is brought up to date once for all who wait for it, and they
    wait on the event loop: threads are for work. Long work has a thread of its own and gives way to short work there,
    since both share one interpreter.

    Args:
        store: Where histories are.
        max_bytes: Most memory of the histories and indexes kept. A larger one is made anew for each request.
        stemmer: Language whose endings are cut off indexed words; None cuts none.
        noted: Called with the numbers of histories that were found here and that were read.
    """

    def __init__(
        self,
        store: Store,
        max_bytes: int,
        stemmer: str | None,
        noted: Callable[[int, int], None] = not_counted,
    ) -> None:
        self._store, self._noted = store, noted
        self._nothing = _Kept(None, (), IndexedHistory((), LexicalIndex((), stemmer)), 0)
        self._cache: BoundedCache[UserKey, _Kept] = BoundedCache(max_bytes)
        self._updates: dict[UserKey, asyncio.Task[_Kept]] = {}
        self._long = ThreadPoolExecutor(1, thread_name_prefix="long-history")
        self._short = 0

    @property
    def nbytes(self) -> int:
        """Memory of what is kept now, about."""
        return self._cache.nbytes

    def __len__(self) -> int:
        return len(self._cache)

    async def of(self, user: UserKey) -> IndexedHistory:
        """The user's history, oldest first; empty for an unknown user."""
        with self.short_work():
            version = await asyncio.to_thread(self._store.history_version, user)
        kept = self._cache.get(user)
        is_kept = kept is not None and kept.version == version
        self._noted(is_kept, not is_kept)
        if kept is not None and is_kept:
            return kept.history
        if user in self._updates:
            # It may have begun before the version was written that was just read.
            kept = await asyncio.shield(self._updates[user])
            if kept.version == version:
                return kept.history
        # Whoever began one by now did so after that.
        if user not in self._updates:
            task = asyncio.create_task(self._update(user, version))
            self._updates[user] = task
            task.add_done_callback(lambda task: self._end(user, task))
        # Shielded: a caller who gives up must not stop what others wait for, or what the next request wants.
        return (await asyncio.shield(self._updates[user])).history

    @contextmanager
    def short_work(self) -> Iterator[None]:
        """While somebody is here, long work rests now and then."""
        self._short += 1
        try:
            yield
        finally:
            self._short -= 1

    async def _update(self, user: UserKey, version: HistoryVersion | None) -> _Kept:
        kept = self._cache.get(user)
        is_long = version is not None and version.next_place - _next_place(kept, version.epoch) > _LONG
        # None is the loop's own threads.
        executor: Executor | None = self._long if is_long else None
        return await asyncio.get_running_loop().run_in_executor(executor, self._brought_up_to_date, user, kept, is_long)

    def _end(self, user: UserKey, task: asyncio.Task[_Kept]) -> None:
        del self._updates[user]
        if not task.cancelled() and (error := task.exception()):
            # Those who waited may have gone.
            log.warning("the history of a user could not be read: %s", error)

    def _brought_up_to_date(self, user: UserKey, kept: _Kept | None, is_long: bool) -> _Kept:
        change = self._store.history_change(user, kept.version if kept else None)
        former = self._nothing if kept is None or change.is_whole else kept
        now = former.changed(change, self._texts(change, is_long))
        if change.version is None:
            # Nobody, or somebody of whom a 0.1.0 that still runs has written.
            self._cache.drop(user)
        elif not self._cache.put(user, now, now.nbytes):
            log.warning(
                "a history of %d items takes %d MB, more than serve.index_cache_mb: it is read for each request",
                len(now.history),
                now.nbytes >> 20,
            )
        return now

    def _texts(self, change: HistoryChange, is_long: bool) -> Iterator[str]:
        for number, (_, item) in enumerate(change.added):
            if is_long and self._short and number % _TEXTS == 0:
                time.sleep(_REST_S)
            yield searched_text(item)


def _next_place(kept: _Kept | None, epoch: str) -> int:
    return kept.version.next_place if kept and kept.version and kept.version.epoch == epoch else 0


def _item_bytes(items: Iterable[HistoryItem]) -> int:
    texts = ((item.id, item.input, item.output, item.ts, item.item_id, item.context) for item in items)
    return sum(_ITEM_BYTES + sum(sys.getsizeof(text) for text in of_item if text) for of_item in texts)
