"""A store of users in this process's memory: the worked example of a backend, one file and one line of the registry."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from memory_records import MemoryRecords
from memory_state import (
    Memory,
    MemoryObservationUpdate,
    State,
    append_again,
    events_of,
    forget_profiles,
    head_of,
    items_of,
    remove_item,
    replace_history,
    tombstones_of,
)

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.types import (
    NOTHING_SEEN,
    WHOLE_USER,
    DeletedMeanwhileError,
    FeedbackEvent,
    FittedUser,
    HistoryChange,
    HistoryVersion,
    MergeReport,
    ProfileFingerprint,
    Seen,
    StoredHead,
    Tombstone,
    UserProfile,
    is_as_seen,
)
from hydra_ray.store.user_rows.events import now
from hydra_ray.store.user_rows.together import brought_together, content_digest, deleted_by_user

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
                replace_history(state, key, items)

    def merge_histories(self, histories: Mapping[UserKey, Sequence[HistoryItem]], replace: bool = False) -> MergeReport:
        _check_ids(histories)
        report = MergeReport()
        with self._writing() as state:
            for key, records in histories.items():
                events = {item for user, item in state.events if user == key}
                deleted = deleted_by_user(tombstones_of(state, lambda one, key=key: one == key)).get(key)
                had = list(items_of(state, key).values())
                merged = brought_together(key, had, records, events, deleted, replace)
                report += merged.report
                replace_history(state, key, merged.items)
                for item in events if merged.report.events else ():
                    del state.events[key, item]
        return report

    def append_history(self, key: UserKey, item: HistoryItem) -> None:
        with self._writing() as state:
            append_again(state, key, item)

    def delete_item(self, key: UserKey, item_id: str) -> bool:
        with self._writing() as state:
            forget_profiles(state, key)
            event = state.events.pop((key, item_id), None)
            item = remove_item(state, key, item_id)
            found = item is not None or event is not None
            if found and item_id != WHOLE_USER:
                state.tombstones[key, item_id] = now(), "" if item is None else content_digest(key, item)
            return found

    def history(self, key: UserKey) -> tuple[HistoryItem, ...]:
        return tuple(items_of(self._state, key).values())

    def history_item(self, key: UserKey, item_id: str) -> HistoryItem | None:
        return next((item for item in self.history(key) if item.id == item_id), None)

    def histories(self, tenant: str) -> dict[UserKey, list[HistoryItem]]:
        found = self._state.histories
        return {key: list(found[key][1].values()) for key in sorted(found) if key.tenant == tenant and found[key][1]}

    def users_with_history(self, tenant: str, after: str | None, most: int) -> list[str]:
        return _page((key for key, (_, items) in self._state.histories.items() if items), tenant, after, most)

    def histories_of(self, keys: Iterable[UserKey]) -> dict[UserKey, HistoryChange]:
        return {key: self.history_change(key, None) for key in keys}

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
        return head_of(self._state, (key, version, role))

    def heads(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, StoredHead]:
        known = ((key, self._state.heads.get((key, version, role))) for key in keys)
        return {key: StoredHead(row[1], row[2], None) for key, row in known if row is not None and row[2] is not None}

    def stamps(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, str]:
        return {key: one.stamp for key, one in self.heads(keys, version, role).items()}

    def head_fingerprints(self, version: str, role: str, keys: Iterable[UserKey] | None = None) -> dict[UserKey, str]:
        heads, wanted = self._state.heads, None if keys is None else set(keys)
        found = ((key, heads[key, *of][0]) for key, *of in sorted(heads) if of == [version, role])
        return {key: mark for key, mark in found if wanted is None or key in wanted}

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
                seen = Seen(known, tuple(events))
                deleted = seen == NOTHING_SEEN and (key, WHOLE_USER) in state.tombstones
                if deleted or not is_as_seen(one.seen, seen):
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
        return events_of(self._state, set(keys))

    def users_with_events(self, tenant: str, after: str | None, most: int) -> list[str]:
        return _page((key for key, _ in self._state.events), tenant, after, most)

    def tombstones(self, tenant: str) -> list[Tombstone]:
        return tombstones_of(self._state, lambda key: key.tenant == tenant)

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
                if willing and all(items_of(state, user) for user in (key, *profile.peers)):
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
            forget_profiles(state, key)
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


def _page(keys: Iterable[UserKey], tenant: str, after: str | None, most: int) -> list[str]:
    users = sorted({key.user for key in keys if key.tenant == tenant})
    return [user for user in users if after is None or user > after][:most]


def _check_ids(histories: Mapping[UserKey, Sequence[HistoryItem]]) -> None:
    if any(len({item.id for item in items}) < len(items) for items in histories.values()):
        raise ValueError("two items of a history have the same id")
