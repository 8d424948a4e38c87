"""What the chosen users teach, read a few users at a time, by the driver and by workers alike."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hydra_ray.data.user_source import UserSource
from hydra_ray.learn.collect.example_plan import USERS_AT_ONCE, PlannedOfUsers
from hydra_ray.learn.collect.rows_by_user import RowsByUser
from hydra_ray.learn.examples.groups import AnswersOfOthers
from hydra_ray.learn.examples.training_data import TrainingData, make_training_data
from hydra_ray.learn.heads.stored_users import StoredUsers, read_users
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store
from hydra_ray.tasks import Task

# Users among whose answers others' are looked for, however many there are: few are needed beside a user's own.
_MOST_OTHERS = 2_000


@dataclass(slots=True)
class TrainingReader:
    """Reads what users teach as it is in the store now; it can be pickled, and read in another process.

    Attributes:
        settings: Say where the store is and what teaches; with absolute paths where another process reads.
        task: Scores answers.
        users: The users.
        rows: Feedback by user; None where history alone has to teach.
        planned: Examples whose feedback counts; none where `rows` is None.
    """

    settings: Settings
    task: Task
    users: UserSource
    rows: RowsByUser | None
    planned: PlannedOfUsers | None
    _store: Store | None = field(default=None, init=False)
    _others: AnswersOfOthers | None = field(default=None, init=False)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.settings, self.task, self.users, self.rows, self.planned

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.settings, self.task, self.users, self.rows, self.planned = state
        self._store, self._others = None, None

    @property
    def is_here(self) -> bool:
        """Whether only processes of this machine can read it."""
        return self.users.is_here or self.rows is not None or self.settings.store_target.scheme == "sqlite"

    def of(self, places: Sequence[int]) -> tuple[TrainingData, StoredUsers]:
        """Return what the users at some places teach, and how the store has them."""
        stored, wanted = self._stored(places), None if self.planned is None else self.planned.of(places)
        # The LLM was asked about the records alone, so that nothing that is said changes what it is asked.
        dataset = self.users.part(places, stored.users)
        dataset = replace(dataset, users=tuple(map(stored.whole, dataset.users)))
        rows = self.rows
        data = make_training_data(
            self.settings, self.task, dataset, rows, wanted, stored.events, self._answers_of_others
        )
        return data, stored

    def close(self) -> None:
        """Let the store go, and the users."""
        self.users.close()
        if self._store is not None:
            self._store.close()
            self._store = None

    def _stored(self, places: Sequence[int]) -> StoredUsers:
        if self._store is None:
            self._store = open_store(self.settings.store_target)
        return read_users(self._store, [self.users.key(place) for place in places])

    def _answers_of_others(self) -> AnswersOfOthers:
        # Only where it is asked for: each process reads and indexes them.
        if self._others is None:
            self._others = AnswersOfOthers(self._some_users())
        return self._others

    def _some_users(self) -> Iterator[tuple[UserKey, Sequence[HistoryItem]]]:
        everybody = range(len(self.users))
        drawn = random.Random(self.settings.seed).sample(everybody, min(_MOST_OTHERS, len(everybody)))
        drawn.sort()
        for start in range(0, len(drawn), USERS_AT_ONCE):
            places = drawn[start : start + USERS_AT_ONCE]
            stored = self._stored(places)
            for user in map(stored.whole, self.users.part(places, stored.users).users):
                yield user.key, user.history
