"""Rows of single users in memory: the worked example's `UserRecords`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.store.rights.protocol import HeadEntry, Row, StoredItem, StoredText
from hydra_ray.store.types import HistoryVersion, ProfileFingerprint, UserProfile


class MemoryRecords:
    """The parts of a state that are one user's, as rows; `writing` opens a draft of the state."""

    def __init__(self, state: Any, writing: Any) -> None:
        self._state, self._writing = state, writing

    def rows(self, key: UserKey) -> dict[str, list[Row]]:
        state = self._state()
        _, items = state.histories.get(key, (None, {}))
        return {
            "history": [{"place": place, **asdict(item)} for place, item in items.items()],
            "heads": [
                {"version": version, "role": role, "mark": mark, "head": None if head is None else head.to_bytes()}
                for (user, version, role), (mark, _, head) in sorted(state.heads.items())
                if user == key
            ],
            "evidence": [
                {"version": version, "role": role, "item": item, "told": told}
                for (user, version, role), by_item in sorted(state.observations.items())
                for item, told in sorted(by_item.items())
                if user == key
            ],
            "profiles": [asdict(one) for (user, _), one in sorted(state.profiles.items()) if user == key],
            "user_preferences": [{"personalisation": False}] if key in state.switched_off else [],
        }

    def counts(self, key: UserKey) -> dict[str, int]:
        return {name: len(rows) for name, rows in self.rows(key).items()}

    def put_rows(self, key: UserKey, tables: Mapping[str, Sequence[Row]]) -> dict[str, int]:
        if unknown := tables.keys() - self.rows(key).keys():
            raise HydraError(f"table {min(unknown)!r}: this store has none")
        if any(self.counts(key).values()):
            raise HydraError(f"user {key.user!r} of tenant {key.tenant!r}: something is known of them already")
        with self._writing() as state:
            items = {row["place"]: _without(row, "place") for row in tables.get("history", ())}
            if items:
                version = HistoryVersion(uuid.uuid4().hex, max(items) + 1, 0)
                state.histories[key] = version, {place: HistoryItem(**item) for place, item in items.items()}
            for row in tables.get("heads", ()):
                head = None if row["head"] is None else Head.from_bytes(row["head"])
                state.heads[key, row["version"], row["role"]] = row["mark"], uuid.uuid4().hex, head
            for row in tables.get("evidence", ()):
                of = key, row["version"], row["role"]
                state.observations[of] = {**state.observations.get(of, {}), row["item"]: row["told"]}
            for row in tables.get("profiles", ()):
                about = {"fingerprint": ProfileFingerprint(*row["fingerprint"]), "peers": _keys(row["peers"])}
                state.profiles[key, row["kind"]] = UserProfile(**{**row, **about})
            if tables.get("user_preferences"):
                state.switched_off.add(key)
        return {name: len(rows) for name, rows in tables.items()}

    def head_entries(self, key: UserKey) -> list[HeadEntry]:
        heads = sorted(self._state().heads.items())
        return [HeadEntry(*of, None) for (user, *of), (*_, head) in heads if user == key and head is not None]

    def is_personalised(self, key: UserKey) -> bool:
        return key not in self._state().switched_off

    def personalise(self, key: UserKey, wanted: bool) -> None:
        with self._writing() as state:
            (state.switched_off.discard if wanted else state.switched_off.add)(key)
            for of in [] if wanted else [of for of, profile in state.profiles.items() if key in profile.peers]:
                del state.profiles[of]

    def users(self) -> list[UserKey]:
        state = self._state()
        owners = (of[0] for rows in (state.heads, state.observations, state.profiles) for of in rows)
        return sorted({*state.histories, *state.switched_off, *owners})

    def stored_items(self) -> list[StoredItem]:
        histories = sorted(self._state().histories.items())
        return [
            StoredItem(key, item.id, item.ts, time.time()) for key, (_, items) in histories for item in items.values()
        ]

    def texts(self) -> Iterator[StoredText]:
        for key in self.users():
            for table, rows in self.rows(key).items():
                yield from (
                    StoredText(key, table, name, value)
                    for row in rows
                    for name, value in row.items()
                    if isinstance(value, str)
                )

    def compact(self) -> None:
        """Nothing of it is in a file."""


def _without(row: Row, name: str) -> dict[str, Any]:
    return {column: value for column, value in row.items() if column != name}


def _keys(peers: Sequence[Sequence[str]]) -> tuple[UserKey, ...]:
    return tuple(UserKey(*peer) for peer in peers)
