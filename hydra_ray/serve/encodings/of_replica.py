"""The encodings of one replica of reranker or adapter: in memory, in the store, and made ahead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Protocol

from hydra_ray.learn.heads.item_encodings import ItemText, ReadTexts
from hydra_ray.models.encodings import KeptEncodings
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.serve.encodings.ahead import LOOK_EVERY_S, EncodedAhead, Reading
from hydra_ray.serve.encodings.items import ItemEncodings
from hydra_ray.serve.encodings.rounds import Look
from hydra_ray.serve.observe.metrics import Metrics
from hydra_ray.serve.observe.names import ENCODINGS_DROPPED
from hydra_ray.settings import Settings
from hydra_ray.store.schema import open_database
from hydra_ray.store.user_rows.encodings import EncodingStore
from hydra_ray.tasks import Task

if TYPE_CHECKING:
    from hydra_ray.models.encoder import TextsEncoder
    from hydra_ray.models.scorer import Scorer

# Users who are looked at in a row.
_USERS = 100
# Newest items of a user that are encoded while serving: tens of thousands would take an hour of a core, while others
# wait. Older ones are left to `fit`, and to requests that meet them.
_MOST_ITEMS = 1_000


class Version(Protocol):
    """What is needed of a version of the base."""

    @property
    def scorer(self) -> Scorer:
        """Its scorer."""

    @property
    def task(self) -> Task:
        """Its task."""


class ReplicaEncodings:
    """What a replica keeps, reads, writes and makes ahead, as far as settings want it.

    Args:
        settings: Say how much is kept in memory, and whether any are in the store.
        role: Reranker or adapter.
        metrics: Metrics of this process.
    """

    def __init__(self, settings: Settings, role: str, metrics: Metrics) -> None:
        self._settings, self._role, self._metrics = settings, role, metrics
        self.kept = KeptEncodings(settings.serve.encoding_cache_mb << 20, metrics.lookups("encodings"))
        self._encodings: EncodingStore | None = None
        self._ahead: EncodedAhead | None = None
        self.items: ItemEncodings | None = None
        if settings.serve.store_encodings and settings.serve.encoding_cache_mb:
            self._encodings = EncodingStore(open_database(settings.store_target))
            self.items = ItemEncodings(self._encodings, self.kept, metrics.lookups("stored_encodings"))

    def begin(self, served: Callable[[], Version]) -> None:
        """Begins to encode ahead.

        Args:
            served: Gives the version that is served.
        """
        if self.items is None or self._encodings is None:
            return

        def reading() -> Reading:
            version = served()
            read = ReadTexts(self._role, version.task, self._settings.method.allowed_answers)
            return Reading(version.scorer.encoder, read)

        tenants = [name for name in self._settings.served_tenants if self._settings.of_tenant(name).personal]
        look = Look(
            partial(self._encodings.users, tenants, most=_USERS), partial(self._encodings.newest, most=_MOST_ITEMS)
        )
        dropped = partial(self._metrics.note, ENCODINGS_DROPPED)
        self._ahead = EncodedAhead(self.items, reading, look, dropped, LOOK_EVERY_S)

    def request(self) -> AbstractContextManager[None]:
        """While somebody is here, nothing is encoded ahead."""
        return nullcontext() if self._ahead is None else self._ahead.request()

    def note(self, user: UserKey, items: Sequence[HistoryItem]) -> None:
        """Has new items of a user encoded soon, where encodings are kept; returns at once."""
        if self._ahead is not None:
            self._ahead.note(user, items)

    def read(self, encoder: TextsEncoder, user: UserKey, texts: Collection[str]) -> list[str]:
        """Take what the store has of a user's texts into memory; return those that are to be written once encoded."""
        if self.items is None or user.is_nobody:
            return []
        return self.items.read(encoder, user, texts)

    def write(self, encoder: TextsEncoder, user: UserKey, texts: Sequence[ItemText]) -> None:
        """Has the store keep what was encoded of a user's texts."""
        if self.items is not None and texts:
            self.items.write(encoder, user, texts)

    def write_answers(self, encoder: TextsEncoder, user: UserKey, answers: Sequence[str]) -> None:
        """Does what `write` does for answers of which nobody here knows the items."""
        if self.items is not None and answers:
            self.items.write_answers(encoder, user, answers)

    def close(self) -> None:
        """Ends what is made ahead."""
        if self._ahead is not None:
            self._ahead.close()
