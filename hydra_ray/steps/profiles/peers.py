"""Finds what other users of the same tenant said: who is like a user, and how others answered the like."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from hydra_ray.dates import surely_before
from hydra_ray.records import HistoryItem, PeerItem, Query, Ranked, UserKey
from hydra_ray.steps.retrieval.embed import Embed, Vectors
from hydra_ray.steps.retrieval.nearest import NearestIndex
from hydra_ray.steps.retrieval.retrievers import searched_text
from hydra_ray.tasks.options import search_text

_PURPOSE = "peers are found"
# Items embedded at a time; the embedder forms batches of like lengths within them.
_CHUNK = 2048


class PeerPool:
    """Histories of the users of tenants that opted in.

    Nobody ever sees what is of another tenant, their own, or too new. A tenant's items are encoded when
    somebody of it first asks, or by `prepare`: at width 384 that takes 1.5 KB an item and 3 KB a user beside
    the histories themselves (and as much on a GPU that faiss uses), so 1.6 GB for a million items. Any thread may ask.

    Args:
        histories: History of each user, oldest first.
        embed: Gives vectors of length 1, as `Embedder` does.
        tenants: Tenants that opted in; users of others are not kept.
    """

    def __init__(
        self, histories: Mapping[UserKey, Sequence[HistoryItem]], embed: Embed, tenants: Collection[str]
    ) -> None:
        self._embed = embed
        by_tenant: dict[str, dict[UserKey, Sequence[HistoryItem]]] = {tenant: {} for tenant in tenants}
        for user, history in histories.items():
            if history and user.tenant in by_tenant:
                by_tenant[user.tenant][user] = history
        self._tenants = {tenant: _Tenant(users, embed) for tenant, users in by_tenant.items() if users}

    def prepare(self, tenant: str) -> None:
        """Encodes a tenant's items, if it opted in, so that nobody has to wait for that.

        Raises:
            HydraError: faiss is not installed; the searches raise this, too.
        """
        if tenant in self._tenants:
            self._tenants[tenant].indexes()

    def similar(self, user: UserKey, history: Sequence[HistoryItem], most: int) -> list[UserKey]:
        """Return the other users of the tenant whose taste is nearest, best first.

        A taste is the mean encoding of a user's inputs beside the mean encoding of their answers; tastes are
        compared by cosine.

        Args:
            user: The user, in the pool or not.
            history: The user's history, as far as it may count; without any nobody is similar.
            most: Most users returned.
        """
        tenant = self._tenants.get(user.tenant)
        if tenant is None or not history or most < 1:
            return []
        # One more, since the nearest may be they themselves.
        _, rows = tenant.indexes().users.search(_taste(self._embed, history), most + 1)
        return [key for row in rows if (key := tenant.users[row]) != user][:most]

    def comparable(
        self, user: UserKey, item: HistoryItem, most: int, before: str | None, floor: float
    ) -> list[PeerItem]:
        """Return what others said of the same thing or else of the like: the nearest item of each peer, best first.

        Where others have items of the same `item_id`, only these count; else items whose inputs are near.

        Args:
            user: The user; their own items are left out.
            item: The item that others' items are compared with.
            most: Most items returned.
            before: Only items count that are surely of an earlier `ts`, as `surely_before`; None lets all count.
            floor: Least cosine of items that are about something else.
        """
        tenant = self._tenants.get(user.tenant)
        if tenant is None or most < 1:
            return []
        text = searched_text(item)
        same = [] if item.item_id is None else tenant.visible(tenant.about.get(item.item_id, ()), user, before)
        if same:
            vectors = self._embed([text, *(searched_text(tenant.items[row].item) for row in same)])
            ranked = [same[place] for place in np.argsort(-(vectors[1:] @ vectors[0]), kind="stable")]
            return _one_a_peer([tenant.items[row] for row in ranked])[:most]
        return self._like(tenant, self._embed([text])[0], user, most, before, floor)

    def concerning(
        self,
        query: Query,
        history: Sequence[HistoryItem],
        users_most: int,
        k: int,
        before: str | None,
        keep: Callable[[PeerItem], bool] = lambda peer: True,
    ) -> list[Ranked]:
        """Return what users similar to the query's said of the like, ranked by the cosine of input and query.

        Args:
            query: The query, whose input is the search text.
            history: The user's history, as far as it may count; without any nobody is similar.
            users_most: Most users whose items are ranked.
            k: Most items returned, best first.
            before: Only items count that are surely of an earlier `ts`, as in `comparable`; None lets all count.
            keep: Has the last word on each item, e.g. whether it still exists.
        """
        peers = self.similar(query.user, history, users_most)
        if not peers:
            return []
        tenant = self._tenants[query.user.tenant]
        rows = tenant.visible((row for peer in peers for row in tenant.spans[peer]), query.user, before)
        if not rows:
            return []
        vectors = tenant.indexes().items.vectors(np.array(rows, np.int64))
        cosines = vectors @ self._embed([search_text(query.input)])[0]
        found: list[Ranked] = []
        for place in np.argsort(-cosines, kind="stable"):
            if len(found) == k:
                break
            peer = tenant.items[rows[place]]
            if keep(peer):
                found.append(Ranked(peer.item, float(cosines[place])))
        return found

    def _like(
        self, tenant: _Tenant, vector: Vectors, user: UserKey, most: int, before: str | None, floor: float
    ) -> list[PeerItem]:
        # What is seen is only known afterwards: more is looked at until it is enough, or nothing near is left.
        looked_at = 4 * most
        while True:
            cosines, rows = tenant.indexes().items.search(vector, looked_at)
            near = tenant.visible(rows[cosines >= floor].tolist(), user, before)
            found = _one_a_peer([tenant.items[row] for row in near])[:most]
            if len(found) == most or len(rows) < looked_at or cosines[-1] < floor:
                return found
            looked_at *= 4


@dataclass(frozen=True, slots=True)
class _Indexes:
    items: NearestIndex
    users: NearestIndex


class _Tenant:
    """One tenant's items and users as rows of two indexes, made when first asked for."""

    def __init__(self, histories: Mapping[UserKey, Sequence[HistoryItem]], embed: Embed) -> None:
        self._embed = embed
        self._lock = Lock()
        self._indexes: _Indexes | None = None
        self.users = list(histories)
        self.items = [PeerItem(user, item) for user, history in histories.items() for item in history]
        self.spans: dict[UserKey, range] = {}
        self.about: dict[str, list[int]] = {}
        start = 0
        for user, history in histories.items():
            self.spans[user] = range(start, start + len(history))
            start += len(history)
        for row, peer in enumerate(self.items):
            if peer.item.item_id is not None:
                self.about.setdefault(peer.item.item_id, []).append(row)

    def visible(self, rows: Iterable[int], user: UserKey, before: str | None) -> list[int]:
        """Return the rows that the user may see, in the same order."""
        return [row for row in rows if self.items[row].user != user and surely_before(self.items[row].item.ts, before)]

    def indexes(self) -> _Indexes:
        """The indexes; whoever asks first encodes, others wait."""
        with self._lock:
            if self._indexes is None:
                self._indexes = self._build()
            return self._indexes

    def _build(self) -> _Indexes:
        owners = np.repeat(np.arange(len(self.users)), [len(span) for span in self.spans.values()])
        width = self._embed([""]).shape[1]
        inputs = np.empty((len(self.items), width), np.float32)
        tastes = np.zeros((len(self.users), 2 * width), np.float32)
        for start in range(0, len(self.items), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            both = _both(self._embed, [peer.item for peer in self.items[chunk]])
            inputs[chunk] = both[:, :width]
            np.add.at(tastes, owners[chunk], both)
        _to_unit(tastes)
        return _Indexes(NearestIndex(inputs, _PURPOSE), NearestIndex(tastes, _PURPOSE))


def _both(embed: Embed, items: Sequence[HistoryItem]) -> Vectors:
    """Encoding of each item's input beside that of its answer, shape (items, 2 * width)."""
    return np.hstack([embed([searched_text(item) for item in items]), embed([item.output for item in items])])


def _taste(embed: Embed, history: Sequence[HistoryItem]) -> Vectors:
    taste = _both(embed, history).sum(axis=0, keepdims=True)
    _to_unit(taste)
    return taste[0]


def _to_unit(vectors: Vectors) -> None:
    """Scale vectors to length 1 where they are: those of a million users are 3 GB."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    vectors /= np.maximum(lengths, 1e-9)[:, None]


def _one_a_peer(peers: Sequence[PeerItem]) -> list[PeerItem]:
    first: dict[UserKey, PeerItem] = {}
    for peer in peers:
        first.setdefault(peer.user, peer)
    return list(first.values())
