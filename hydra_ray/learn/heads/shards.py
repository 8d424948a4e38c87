"""Whose heads are fitted together: users as shards, and what is read of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hydra_ray.data.dataset import User
from hydra_ray.data.user_source import parts
from hydra_ray.fingerprint import records_fingerprint
from hydra_ray.learn.collect.example_plan import USERS_AT_ONCE
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.learn.examples.training_data import TrainingData
from hydra_ray.learn.heads.item_encodings import ReadTexts
from hydra_ray.learn.heads.todo import HeadFingerprints
from hydra_ray.learn.heads.training_reader import TrainingReader
from hydra_ray.records import UserKey
from hydra_ray.store.protocol import Store
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import NOTHING_SEEN, Seen
from hydra_ray.store.user_rows.encodings import EncodingStore


@dataclass(frozen=True, slots=True)
class Shard:
    """Users whose features are one file.

    Attributes:
        role: Role whose heads are fitted.
        users: Users, each with the fingerprint of what they teach.
        changed: Those of them who changed since, of whom the features hold nothing.
    """

    role: str
    users: tuple[tuple[UserKey, str], ...]
    changed: frozenset[UserKey] = frozenset()

    @property
    def name(self) -> str:
        """Name of the shard's file: the same for the same users teaching the same."""
        # Who changed may be as planned again when a killed fit goes on, and then wants features.
        read = tuple(one for one in self.users if one[0] not in self.changed)
        return records_fingerprint([(self.role, read)], size=8)


def make_shards(role: str, fingerprints: Mapping[UserKey, str], users_per_shard: int) -> list[Shard]:
    """Return shards of users in the order of their keys."""
    users = sorted(fingerprints.items())
    return [Shard(role, tuple(users[at : at + users_per_shard])) for at in range(0, len(users), users_per_shard)]


@dataclass(frozen=True, slots=True)
class ShardData:
    """What the heads of a shard are fitted from.

    Attributes:
        shard: The shard.
        groups: Gives the groups of a role of each user that is still as planned.
        users: These users.
        seen: What the store had of each of them.
        texts: Texts that are read of their items, with the digests of those that are encoded already.
    """

    shard: Shard
    groups: Callable[[str, User], list[RankingGroup]]
    users: Sequence[User]
    seen: Mapping[UserKey, Seen] = field(default_factory=dict)
    texts: Sequence[Any] = ()


class ReadShards(Protocol):
    """Shards by their places in a plan, read when they are wanted; it can be pickled."""

    @property
    def is_here(self) -> bool:
        """Whether only processes of this machine can read them."""

    @property
    def sizes(self) -> Sequence[tuple[str, int]]:
        """Role and number of users of each shard."""

    def __call__(self, place: int) -> ShardData:
        """Return what the heads of a shard are fitted from."""


@dataclass(frozen=True, slots=True)
class HeldShards:
    """Shards of users who are in memory."""

    shards: Sequence[Shard]
    data: TrainingData

    @property
    def is_here(self) -> bool:
        """Whether only processes of this machine can read them."""
        return False

    @property
    def sizes(self) -> list[tuple[str, int]]:
        """Role and number of users of each shard."""
        return [(shard.role, len(shard.users)) for shard in self.shards]

    def __call__(self, place: int) -> ShardData:
        """Return what the heads of a shard are fitted from."""
        shard = self.shards[place]
        wanted = {key for key, _ in shard.users}
        # In the order of the shard, whatever order the data set has.
        users = {user.key: user for user in self.data.dataset.users if user.key in wanted}
        return ShardData(shard, self.data.groups, [users[key] for key, _ in shard.users])


@dataclass(frozen=True, slots=True, eq=False)
class PlannedShards:
    """Shards of any number of users: 28 bytes for each, who are read when their shard is.

    Attributes:
        reader: Reads what the users teach.
        fingerprint_of: Gives the fingerprint of what a user teaches now.
        sizes: Role and number of users of each shard.
        places: Places of the users, shard by shard, shape (users,).
        fingerprints: What each user taught when this was planned, shape (users,).
        keeps_encodings: Whether items are encoded beside what heads are fitted from.
    """

    reader: TrainingReader
    fingerprint_of: HeadFingerprints
    sizes: Sequence[tuple[str, int]]
    places: npt.NDArray[np.int32]
    fingerprints: npt.NDArray[np.bytes_]
    keeps_encodings: bool

    @property
    def is_here(self) -> bool:
        """Whether only processes of this machine can read them."""
        return self.reader.is_here

    def __call__(self, place: int) -> ShardData:
        """Return what the heads of a shard are fitted from; who changed since it was planned is left out."""
        start = sum(count for _, count in self.sizes[:place])
        role, count = self.sizes[place]
        places = self.places[start : start + count].tolist()
        taught = [one.decode() for one in self.fingerprints[start : start + count].tolist()]
        data, stored = self.reader.of(places)
        shard = Shard(role, tuple((self.reader.users.key(one), mark) for one, mark in zip(places, taught, strict=True)))
        planned = dict(shard.users)
        users = [user for user in data.dataset.users if self.fingerprint_of(data, role, user) == planned[user.key]]
        seen = {user.key: stored.seen[user.key] for user in users}
        shard = replace(shard, changed=frozenset(planned.keys() - seen.keys()))
        return ShardData(shard, data.groups, users, seen, self._texts(role, data, users))

    def _texts(self, role: str, data: TrainingData, users: Sequence[User]) -> list[Any]:
        if not self.keeps_encodings:
            return []
        settings = self.reader.settings
        read = ReadTexts(role, data.task, settings.method.allowed_answers)
        database = open_database(settings.store_target)
        kept = EncodingStore(database).kept([user.key for user in users])
        database.close()
        return [(user.key, read(user.history), kept.get(user.key, ())) for user in users]


@dataclass(frozen=True, slots=True)
class FitPlan:
    """Which heads are to be fitted.

    Attributes:
        shards: Users whose head is missing or was fitted from something else.
        kept: Number of users, by role, whose head stays as it is.
        events: Number of feedback events of all users.
    """

    shards: PlannedShards
    kept: dict[str, int]
    events: int


def plan_fit(
    reader: TrainingReader,
    fingerprint_of: HeadFingerprints,
    store: Store,
    version: str,
    roles: Sequence[str],
    users_at_once: int = USERS_AT_ONCE,
) -> FitPlan:
    """Look which heads are to be fitted, without all users in memory.

    Args:
        reader: Reads what users teach.
        fingerprint_of: Gives the fingerprint of what a user teaches.
        store: Store with the fingerprints of heads.
        version: Version of the base.
        roles: Roles whose heads are fitted.
        users_at_once: How many users are looked at together; nothing depends on it.
    """
    settings, events = reader.settings, 0
    changed: dict[str, list[tuple[npt.NDArray[np.int32], npt.NDArray[np.bytes_]]]] = {role: [] for role in roles}
    for places in parts(reader.users, users_at_once):
        data, stored = reader.of(places)
        events += sum(map(len, stored.events.values()))
        for role in roles:
            had = store.head_fingerprints(version, role, [user.key for user in data.dataset.users])
            found = [
                (place, now)
                for place, user in zip(places, data.dataset.users, strict=True)
                # Who was deleted since users were listed gets no row again.
                if (user.key in had or stored.seen[user.key] != NOTHING_SEEN)
                and had.get(user.key) != (now := fingerprint_of(data, role, user))
            ]
            changed[role].append(
                (np.array([place for place, _ in found], np.int32), np.array([now for _, now in found], "S24"))
            )
    sizes, kept = list[tuple[str, int]](), dict[str, int]()
    for role in roles:
        count = sum(len(one) for one, _ in changed[role])
        kept[role] = len(reader.users) - count
        most = settings.fit.users_per_shard
        sizes += [(role, min(most, count - start)) for start in range(0, count, most)]
    both = [one for role in roles for one in changed[role]]
    found_at = np.concatenate([one for one, _ in both]) if both else np.array([], np.int32)
    fingerprints = np.concatenate([one for _, one in both]) if both else np.array([], "S24")
    shards = PlannedShards(reader, fingerprint_of, sizes, found_at, fingerprints, settings.serve.store_encodings)
    return FitPlan(shards, kept, events)
