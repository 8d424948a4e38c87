"""The users of a store as a source: their ids are held, their histories are read when they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.dates import in_order
from hydra_ray.records import UserKey
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.store.backends import open_store
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.protocol import Store

# Ids that are read at once.
_PAGE = 10_000


class StoreUsers:
    """Users of one tenant in a store, as a `UserSource`.

    Args:
        target: The store. It is opened by whoever reads, and stays open until `close`.
        tenant: The tenant.
        ids: Ids of the users, in order; what they take is their letters.
        pairs: Whether history items are queries with the users' answers, as in `Dataset`.
    """

    def __init__(self, target: StoreTarget, tenant: str, ids: pa.StringArray, pairs: bool) -> None:
        self._target, self._tenant, self._ids, self._pairs = target, tenant, ids, pairs
        self._store: Store | None = None

    @property
    def is_here(self) -> bool:
        """Whether only processes of this machine can read it: a server is asked from anywhere."""
        return self._target.scheme == "sqlite"

    def __len__(self) -> int:
        return len(self._ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}

    def key(self, place: int) -> UserKey:
        """Return the user at a place."""
        return UserKey(self._tenant, self._ids[place].as_py())

    def part(self, places: Sequence[int], known: Mapping[UserKey, User] | None = None) -> Dataset:
        """Return the users of some places; of who is gone the history is empty."""
        keys = [self.key(place) for place in places]
        if known is None:
            if self._store is None:
                self._store = open_store(self._target)
            found = self._store.histories_of(keys)
            known = {
                key: User(key, tuple(in_order((item for _, item in found[key].added), lambda item: item.ts)))
                for key in keys
            }
        return Dataset(tuple(known[key] for key in keys), pairs=self._pairs)

    def close(self) -> None:
        """Let the store go; it is opened again where users are read again."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def sampled(self, most: int | None, seed: int) -> StoreUsers:
        """Return a source of at most so many of the users, drawn as `data.max_users` draws them."""
        if most is None or most >= len(self):
            return self
        drawn = nsmallest(most, range(len(self)), key=lambda place: stable_seed(seed, *self.key(place)))
        return self._with(self._ids.take(pa.array(sorted(drawn), pa.int64())))

    def only(self, ids: Sequence[str]) -> tuple[StoreUsers, list[str]]:
        """Return a source of these users in this order, and the ids of those who are not among the users."""
        wanted = pa.array(ids, pa.string())
        there = pc.is_in(wanted, value_set=self._ids)
        return self._with(wanted.filter(there)), wanted.filter(pc.invert(there)).to_pylist()

    def joined(self, ids: Iterable[str]) -> StoreUsers:
        """Return a source that has these users after the others, each once."""
        more = pa.array(list(ids), pa.string())
        new = more.filter(pc.invert(pc.is_in(more, value_set=self._ids)))
        return self._with(pa.concat_arrays([self._ids, new]))

    def _with(self, ids: pa.StringArray) -> StoreUsers:
        return StoreUsers(self._target, self._tenant, ids, self._pairs)


def users_of_tenant(target: StoreTarget, tenant: str, pairs: bool) -> StoreUsers:
    """Return everybody of a tenant who has a history."""
    store = open_store(target)
    try:
        pages = [pa.array(page, pa.string()) for page in paged(store.users_with_history, tenant)]
    finally:
        store.close()
    return StoreUsers(target, tenant, pa.concat_arrays(pages) if pages else pa.array([], pa.string()), pairs)


def paged(find: Callable[[str, str | None, int], list[str]], tenant: str) -> Iterator[list[str]]:
    """Yield all ids that a method of a store finds of a tenant, page by page."""
    after: str | None = None
    while page := find(tenant, after, _PAGE):
        yield page
        after = page[-1]
