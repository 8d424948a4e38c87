"""A store of users in this process's memory: the worked example of a backend, one file and one line of the registry."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from threading import Lock

from memory_records import MemoryRecords

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.types import (
    WHOLE_USER,
    DeletedMeanwhileError,
    FeedbackEvent,
    FittedUser,
    HistoryChange,
    HistoryVersion,
    MergeReport,
    ProfileFingerprint,
    Seen,
    Tombstone,
    UserProfile,
    is_as_seen,
)
from hydra_ray.store.user_rows.events import now
from hydra_ray.store.user_rows.together import brought_together, content_digest, deleted_by_user

Histories = dict[UserKey, tuple[HistoryVersion, dict[int, HistoryItem]]]
HeadKey = tuple[UserKey, str, str]


@dataclass(frozen=True)
class State:
    """All that is known; what the mappings hold is never changed in place, so a copy of them is enough."""

    histories: Histories = field(default_factory=dict)
    heads: dict[HeadKey, tuple[str, str, Head | None]] = field(default_factory=dict)
    observations: dict[HeadKey, dict[str, bytes]] = field(default_factory=dict)
    profiles: dict[tuple[UserKey, str], UserProfile] = field(default_factory=dict)
    deletions: dict[UserKey, int] = field(default_factory=dict)
    events: dict[tuple[UserKey, str], FeedbackEvent] = field(default_factory=dict)
    tombstones: dict[tuple[UserKey, str], tuple[str, str]] = field(default_factory=dict)
    switched_off: set[UserKey] = field(default_factory=set)

    def copy(self) -> State:
        return State(*(type(value)(value) for value in (getattr(self, one.name) for one in fields(self))))


class Memory:
    """The state that all stores of one URL share, and the lock of its writers."""

    def __init__(self) -> None:
        self.state, self.lock = State(), Lock()


MEMORIES: dict[str, Memory] = defaultdict(Memory)


class MemoryStore:
    """A dictionary as a `Store`: readers see the state that was there, a writer puts another one in its place."""

    def __init__(self, target: StoreTarget) -> None:
        self._memory = MEMORIES[target.url]

    @property
    def _state(self) -> State:
        return self._memory.state

    @contextmanager
    def _writing(self) -> Iterator[State]:
        with self._memory.lock:
            draft = self._memory.state.copy()
            yield draft
            self._memory.state = draft

    def put_histories(self, histories: Mapping[UserKey, Sequence[HistoryItem]]) -> None:
        _check_ids(histories)
        with self._writing() as state:
            for key, items in histories.items():
                _replace(state, key, items)

    def merge_histories(self, histories: Mapping[UserKey, Sequence[HistoryItem]], replace: bool = False) -> MergeReport:
        _check_ids(histories)
        report = MergeReport()
        with self._writing() as state:
            for key, records in histories.items():
                events = {item for user, item in state.events if user == key}
                deleted = deleted_by_user(_tombstones(state, lambda one, key=key: one == key)).get(key)
                had = list(_items(state, key).values())
                merged = brought_together(key, had, records, events, deleted, replace)
                report += merged.report
                _replace(state, key, merged.items)
                for item in events if merged.report.events else ():
                    del state.events[key, item]
        return report

    def append_history(self, key: UserKey, item: HistoryItem) -> None:
        with self._writing() as state:
            _append_again(state, key, item)

    def delete_item(self, key: UserKey, item_id: str) -> bool:
        with self._writing() as state:
            _forget(state, key)
            event = state.events.pop((key, item_id), None)
            item = _remove(state, key, item_id)
            found = item is not None or event is not None
            if found and item_id != WHOLE_USER:
                state.tombstones[key, item_id] = now(), "" if item is None else content_digest(key, item)
            return found

    def history(self, key: UserKey) -> tuple[HistoryItem, ...]:
        return tuple(_items(self._state, key).values())

    def history_item(self, key: UserKey, item_id: str) -> HistoryItem | None:
        return next((item for item in self.history(key) if item.id == item_id), None)

    def histories(self, tenant: str) -> dict[UserKey, list[HistoryItem]]:
        found = self._state.histories
        return {key: list(found[key][1].values()) for key in sorted(found) if key.tenant == tenant and found[key][1]}

    def history_version(self, key: UserKey) -> HistoryVersion | None:
        return self._state.histories[key][0] if key in self._state.histories else None

    def history_change(self, key: UserKey, since: HistoryVersion | None) -> HistoryChange:
        now, items = self._state.histories.get(key, (None, {}))
        if since is None or now is None or now.epoch != since.epoch:
            return HistoryChange(now, True, list(items.items()))
        added = [(place, item) for place, item in items.items() if place >= since.next_place]
        lost = now.removed != since.removed
        return HistoryChange(now, False, added, frozenset(p for p in items if p < since.next_place) if lost else None)

    def put_heads(
        self,
        version: str,
        role: str,
        heads: Mapping[UserKey, Head | None],
        fingerprints: Mapping[UserKey, str] | None = None,
    ) -> None:
        with self._writing() as state:
            for key, head in heads.items():
                state.heads[key, version, role] = (fingerprints or {}).get(key, ""), uuid.uuid4().hex, head

    def head(self, key: UserKey, version: str, role: str) -> Head | None:
        return _head(self._state, (key, version, role))

    def heads(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, tuple[str, Head]]:
        known = ((key, self._state.heads.get((key, version, role))) for key in keys)
        return {key: (row[1], row[2]) for key, row in known if row is not None and row[2] is not None}

    def stamps(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, str]:
        return {key: stamp for key, (stamp, _) in self.heads(keys, version, role).items()}

    def head_fingerprints(self, version: str, role: str) -> dict[UserKey, str]:
        heads = self._state.heads
        return {key: heads[key, *of][0] for key, *of in sorted(heads) if of == [version, role]}

    def users_with_head(self, version: str, role: str) -> list[UserKey]:
        return sorted(self.heads([key for key, *_ in self._state.heads], version, role))

    def put_observations(self, version: str, role: str, observed: Mapping[UserKey, Mapping[str, bytes]]) -> None:
        with self._writing() as state:
            for key, by_item in observed.items():
                state.observations[key, version, role] = dict(by_item)

    def put_fitted(self, version: str, role: str, fitted: Mapping[UserKey, FittedUser]) -> set[UserKey]:
        stale = set()
        with self._writing() as state:
            for key, one in fitted.items():
                known, _ = state.histories.get(key, (None, {}))
                events = sorted((item, event.said_at) for (user, item), event in state.events.items() if user == key)
                if not is_as_seen(one.seen, Seen(known, tuple(events))):
                    stale.add(key)
                    continue
                state.observations[key, version, role] = dict(one.observations)
                state.heads[key, version, role] = one.fingerprint, uuid.uuid4().hex, one.head
        return stale

    def observations(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, dict[str, bytes]]:
        known = ((key, self._state.observations.get((key, version, role))) for key in keys)
        return {key: dict(by_item) for key, by_item in known if by_item}

    def observed_by(self, key: UserKey, item_id: str) -> list[tuple[str, str]]:
        known = self._state.observations.items()
        return sorted((version, role) for (user, version, role), items in known if user == key and item_id in items)

    @contextmanager
    def updating_observations(
        self, key: UserKey, version: str, role: str, deletions: int | None = None
    ) -> Iterator[MemoryObservationUpdate]:
        with self._writing() as state:
            if deletions is not None and state.deletions.get(key, 0) != deletions:
                raise DeletedMeanwhileError(f"user {key.user} of tenant {key.tenant} was deleted meanwhile")
            yield MemoryObservationUpdate(state, key, version, role)

    def feedback_events(self, keys: Iterable[UserKey]) -> dict[UserKey, list[FeedbackEvent]]:
        return _events(self._state, set(keys))

    def feedback_events_of_tenant(self, tenant: str) -> dict[UserKey, list[FeedbackEvent]]:
        return _events(self._state, {key for key, _ in self._state.events if key.tenant == tenant})

    def tombstones(self, tenant: str) -> list[Tombstone]:
        return _tombstones(self._state, lambda key: key.tenant == tenant)

    def put_tombstones(self, tombstones: Iterable[Tombstone]) -> None:
        with self._writing() as state:
            for one in tombstones:
                state.tombstones[one.key, one.item] = one.at, one.digest

    def undelete(self, key: UserKey, item_id: str = WHOLE_USER) -> bool:
        with self._writing() as state:
            return state.tombstones.pop((key, item_id), None) is not None

    def profile(self, key: UserKey, kind: str) -> UserProfile | None:
        return self._state.profiles.get((key, kind))

    def profile_fingerprints(self, kind: str) -> dict[UserKey, ProfileFingerprint]:
        return {key: profile.fingerprint for (key, of), profile in self._state.profiles.items() if of == kind}

    def put_profiles(self, profiles: Iterable[tuple[UserKey, UserProfile]]) -> int:
        written, kept = list(profiles), 0
        with self._writing() as state:
            for key, profile in written:
                state.profiles.pop((key, profile.kind), None)
                willing = state.switched_off.isdisjoint(profile.peers)
                if willing and all(_items(state, user) for user in (key, *profile.peers)):
                    state.profiles[key, profile.kind] = profile
                    kept += 1
        return kept

    def delete(self, key: UserKey) -> dict[str, int]:
        with self._writing() as state:
            counts = self.records.counts(key)
            state.histories.pop(key, None)
            state.switched_off.discard(key)
            for rows in (state.heads, state.observations):
                for of in [of for of in rows if of[0] == key]:
                    del rows[of]
            events = [of for of in state.events if of[0] == key]
            for of in events:
                del state.events[of]
            before = len(state.profiles)
            _forget(state, key)
            state.deletions[key] = state.deletions.get(key, 0) + 1
            state.tombstones[key, WHOLE_USER] = now(), ""
            others = before - len(state.profiles) - counts["profiles"]
            return {**counts, "feedback_events": len(events), "profiles_of_others": others}

    @property
    def records(self) -> MemoryRecords:
        return MemoryRecords(lambda: self._state, self._writing)

    def deletions(self, key: UserKey) -> int:
        return self._state.deletions.get(key, 0)

    def close(self) -> None:
        """Other stores of the URL go on with what is there."""


class MemoryObservationUpdate:
    """A draft of the state as an `ObservationUpdate`."""

    def __init__(self, state: State, key: UserKey, version: str, role: str) -> None:
        self._state, self._key, self._of = state, key, (key, version, role)

    def put(self, item_id: str, observed: bytes) -> None:
        self._state.observations[self._of] = {**self._state.observations.get(self._of, {}), item_id: observed}

    def remove(self, item_id: str) -> bool:
        items = dict(self._state.observations.get(self._of, {}))
        found = items.pop(item_id, None)
        self._state.observations[self._of] = items
        return found is not None

    def all(self) -> list[bytes]:
        return [observed for _, observed in sorted(self._state.observations.get(self._of, {}).items())]

    def put_event(self, event: FeedbackEvent) -> None:
        self._state.events[self._key, event.item_id] = replace(event, said_at=event.said_at or now())

    def append_history(self, item: HistoryItem) -> None:
        _append_again(self._state, self._key, item)

    def delete_item(self, item_id: str) -> bool:
        found = _remove(self._state, self._key, item_id) is not None
        if found:
            _forget(self._state, self._key)
        return found

    def head(self) -> Head | None:
        return _head(self._state, self._of)

    def put_head(self, head: Head | None) -> None:
        self._state.heads.pop(self._of, None)
        if head is not None:
            self._state.heads[self._of] = "", uuid.uuid4().hex, head


def _check_ids(histories: Mapping[UserKey, Sequence[HistoryItem]]) -> None:
    if any(len({item.id for item in items}) < len(items) for items in histories.values()):
        raise ValueError("two items of a history have the same id")


def _events(state: State, keys: set[UserKey]) -> dict[UserKey, list[FeedbackEvent]]:
    found = dict[UserKey, list[FeedbackEvent]]()
    for key, item in sorted(state.events, key=lambda of: (of[0], state.events[of].said_at, of[1])):
        if key in keys:
            found.setdefault(key, []).append(state.events[key, item])
    return found


def _tombstones(state: State, which: Callable[[UserKey], bool]) -> list[Tombstone]:
    return [Tombstone(key, item, *about) for (key, item), about in sorted(state.tombstones.items()) if which(key)]


def _items(state: State, key: UserKey) -> dict[int, HistoryItem]:
    return state.histories[key][1] if key in state.histories else {}


def _head(state: State, of: HeadKey) -> Head | None:
    return state.heads[of][2] if of in state.heads else None


def _replace(state: State, key: UserKey, items: Sequence[HistoryItem]) -> None:
    had = list(_items(state, key).values())
    if key not in state.histories or had != list(items[: len(had)]):
        if not had and not items:
            return
        state.histories[key], had = (HistoryVersion(uuid.uuid4().hex, 0, 0), {}), []
    for item in items[len(had) :]:
        _append(state, key, item)


def _append(state: State, key: UserKey, item: HistoryItem) -> None:
    old = _remove(state, key, item.id)
    if old is not None and (old.input, old.output, old.context) != (item.input, item.output, item.context):
        _forget(state, key)
    version, items = state.histories.get(key, (HistoryVersion(uuid.uuid4().hex, 0, 0), {}))
    place = version.next_place
    state.histories[key] = version._replace(next_place=place + 1), {**items, place: item}


def _append_again(state: State, key: UserKey, item: HistoryItem) -> None:
    _append(state, key, item)
    if item.id != WHOLE_USER:
        state.tombstones.pop((key, item.id), None)


def _remove(state: State, key: UserKey, item_id: str) -> HistoryItem | None:
    place = next((place for place, item in _items(state, key).items() if item.id == item_id), None)
    if place is None:
        return None
    version, items = state.histories[key]
    left = {other: item for other, item in items.items() if other != place}
    state.histories[key] = version._replace(removed=version.removed + 1), left
    return items[place]


def _forget(state: State, key: UserKey) -> None:
    for of in [of for of, profile in state.profiles.items() if key in (of[0], *profile.peers)]:
        del state.profiles[of]
