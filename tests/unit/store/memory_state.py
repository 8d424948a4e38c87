"""The state of the store in memory, and what is done to a draft of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from threading import Lock

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.types import WHOLE_USER, FeedbackEvent, HistoryVersion, Tombstone, UserProfile
from hydra_ray.store.user_rows.events import now

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
        append_again(self._state, self._key, item)

    def delete_item(self, item_id: str) -> bool:
        found = remove_item(self._state, self._key, item_id) is not None
        if found:
            forget_profiles(self._state, self._key)
        return found

    def head(self) -> Head | None:
        return head_of(self._state, self._of)

    def put_head(self, head: Head | None) -> None:
        self._state.heads.pop(self._of, None)
        if head is not None:
            self._state.heads[self._of] = "", uuid.uuid4().hex, head


def events_of(state: State, keys: set[UserKey]) -> dict[UserKey, list[FeedbackEvent]]:
    found = dict[UserKey, list[FeedbackEvent]]()
    for key, item in sorted(state.events, key=lambda of: (of[0], state.events[of].said_at, of[1])):
        if key in keys:
            found.setdefault(key, []).append(state.events[key, item])
    return found


def tombstones_of(state: State, which: Callable[[UserKey], bool]) -> list[Tombstone]:
    return [Tombstone(key, item, *about) for (key, item), about in sorted(state.tombstones.items()) if which(key)]


def items_of(state: State, key: UserKey) -> dict[int, HistoryItem]:
    return state.histories[key][1] if key in state.histories else {}


def head_of(state: State, of: HeadKey) -> Head | None:
    return state.heads[of][2] if of in state.heads else None


def replace_history(state: State, key: UserKey, items: Sequence[HistoryItem]) -> None:
    had = list(items_of(state, key).values())
    if key not in state.histories or had != list(items[: len(had)]):
        if not had and not items:
            return
        state.histories[key], had = (HistoryVersion(uuid.uuid4().hex, 0, 0), {}), []
    for item in items[len(had) :]:
        append_item(state, key, item)


def append_item(state: State, key: UserKey, item: HistoryItem) -> None:
    old = remove_item(state, key, item.id)
    if old is not None and (old.input, old.output, old.context) != (item.input, item.output, item.context):
        forget_profiles(state, key)
    version, items = state.histories.get(key, (HistoryVersion(uuid.uuid4().hex, 0, 0), {}))
    place = version.next_place
    state.histories[key] = version._replace(next_place=place + 1), {**items, place: item}


def append_again(state: State, key: UserKey, item: HistoryItem) -> None:
    append_item(state, key, item)
    if item.id != WHOLE_USER:
        state.tombstones.pop((key, item.id), None)


def remove_item(state: State, key: UserKey, item_id: str) -> HistoryItem | None:
    place = next((place for place, item in items_of(state, key).items() if item.id == item_id), None)
    if place is None:
        return None
    version, items = state.histories[key]
    left = {other: item for other, item in items.items() if other != place}
    state.histories[key] = version._replace(removed=version.removed + 1), left
    return items[place]


def forget_profiles(state: State, key: UserKey) -> None:
    for of in [of for of, profile in state.profiles.items() if key in (of[0], *profile.peers)]:
        del state.profiles[of]
