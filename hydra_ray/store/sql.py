"""Store of users in SQLite or any database SQLAlchemy speaks to: one row an item, one a (user, version, role)."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, delete, insert, select

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store import histories as stored_histories
from hydra_ray.store import profiles as stored_profiles
from hydra_ray.store.database import POLL_S
from hydra_ray.store.rights.sql import SqlUserRecords
from hydra_ray.store.rows import KEYS_AT_ONCE, among, chunks, of, of_base
from hydra_ray.store.schema import open_database
from hydra_ray.store.tables import HEADS, HISTORY, HISTORY_VERSIONS, OBSERVATIONS, PROFILE_PEERS, USER_PREFERENCES
from hydra_ray.store.types import HistoryChange, HistoryVersion, ProfileFingerprint, UserProfile

# A bulk write lets others in after so much: some 0.1 s of work.
_ROWS_AT_ONCE, _BYTES_AT_ONCE, _PROFILES_AT_ONCE = 2_000, 4 << 20, 64
# SQLite's writers look for the lock rather than queue: without a pause they would find it taken.
_PAUSE_S = 2 * POLL_S
# A deletion waits so long for readers before what was deleted leaves the write-ahead log.
_LOG_S = 1.0

log = logging.getLogger(__name__)

One = TypeVar("One")


class SqlStore:
    """Tables of a database as a `Store`, which documents the methods.

    Writes for many users at once are several transactions, each whole for its own users, so that others can write
    meanwhile.

    Args:
        url: SQLAlchemy URL, e.g. `sqlite:///runs/model/users.db`.

    Raises:
        HydraError: The database cannot be opened, or a newer version of hydra-ray made it.
    """

    def __init__(self, url: str) -> None:
        self._database = open_database(url)

    def put_histories(self, histories: Mapping[UserKey, Sequence[HistoryItem]]) -> None:
        for key, items in histories.items():
            if len({item.id for item in items}) < len(items):
                raise ValueError(f"{key}: two items of the history have the same id")
        for keys in self._in_turn(_batches(histories, lambda key: len(histories[key]), _ROWS_AT_ONCE)):
            with self._database.writing() as db:
                stored_histories.replace(db, {key: histories[key] for key in keys})

    def append_history(self, key: UserKey, item: HistoryItem) -> None:
        with self._database.writing() as db:
            stored_histories.append(db, key, item)

    def delete_item(self, key: UserKey, item_id: str) -> bool:
        with self._database.writing() as db:
            found = stored_histories.remove(db, key, item_id)
            stored_profiles.forget(db, key)
            return found

    def history(self, key: UserKey) -> tuple[HistoryItem, ...]:
        with self._database.reading() as db:
            return stored_histories.find(db, key)

    def history_item(self, key: UserKey, item_id: str) -> HistoryItem | None:
        with self._database.reading() as db:
            return stored_histories.item(db, key, item_id)

    def history_version(self, key: UserKey) -> HistoryVersion | None:
        with self._database.reading() as db:
            return stored_histories.version(db, key)

    def history_change(self, key: UserKey, since: HistoryVersion | None) -> HistoryChange:
        with self._database.reading() as db:
            return stored_histories.change(db, key, since)

    def histories(self, tenant: str) -> dict[UserKey, list[HistoryItem]]:
        with self._database.reading() as db:
            return stored_histories.of_tenant(db, tenant)

    def put_heads(
        self,
        version: str,
        role: str,
        heads: Mapping[UserKey, Head | None],
        fingerprints: Mapping[UserKey, str] | None = None,
    ) -> None:
        for keys in self._in_turn(_batches(heads, lambda key: _nbytes(heads[key]), _BYTES_AT_ONCE)):
            rows = [_head_row(key, version, role, heads[key], (fingerprints or {}).get(key, "")) for key in keys]
            with self._database.writing() as db:
                db.execute(delete(HEADS).where(*of_base(HEADS, version, role), among(HEADS, keys)))
                db.execute(insert(HEADS), rows)

    def head(self, key: UserKey, version: str, role: str) -> Head | None:
        query = select(HEADS.c.head).where(*of(HEADS, key), *of_base(HEADS, version, role))
        with self._database.reading() as db:
            blob = db.execute(query).scalar()
        return None if blob is None else Head.from_bytes(blob)

    def heads(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, tuple[str, Head]]:
        c, found = HEADS.c, dict[UserKey, tuple[str, Head]]()
        with self._database.reading() as db:
            for some in chunks(keys):
                mine = (among(HEADS, some), *of_base(HEADS, version, role), c.head.is_not(None))
                query = select(c.tenant, c.user, c.stamp, c.head).where(*mine)
                for tenant, user, stamp, blob in db.execute(query):
                    found[UserKey(tenant, user)] = (stamp, Head.from_bytes(blob))
        return found

    def stamps(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, str]:
        c, found = HEADS.c, dict[UserKey, str]()
        with self._database.reading() as db:
            for some in chunks(keys):
                mine = (among(HEADS, some), *of_base(HEADS, version, role), c.head.is_not(None))
                query = select(c.tenant, c.user, c.stamp).where(*mine)
                found |= {UserKey(tenant, user): stamp for tenant, user, stamp in db.execute(query)}
        return found

    def head_fingerprints(self, version: str, role: str) -> dict[UserKey, str]:
        c = HEADS.c
        query = select(c.tenant, c.user, c.mark).where(*of_base(HEADS, version, role)).order_by(c.tenant, c.user)
        with self._database.reading() as db:
            return {UserKey(tenant, user): made_from for tenant, user, made_from in db.execute(query)}

    def users_with_head(self, version: str, role: str) -> list[UserKey]:
        c = HEADS.c
        query = select(c.tenant, c.user).where(*of_base(HEADS, version, role), c.head.is_not(None))
        with self._database.reading() as db:
            return [UserKey(*row) for row in db.execute(query.order_by(c.tenant, c.user))]

    def put_observations(self, version: str, role: str, observed: Mapping[UserKey, Mapping[str, bytes]]) -> None:
        for keys in self._in_turn(
            _batches(observed, lambda key: 64 + sum(map(len, observed[key].values())), _BYTES_AT_ONCE)
        ):
            with self._database.writing() as db:
                for key in keys:
                    _put_observations(db, key, version, role, observed[key], replace=True)

    def observations(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, dict[str, bytes]]:
        c, found = OBSERVATIONS.c, dict[UserKey, dict[str, bytes]]()
        with self._database.reading() as db:
            for some in chunks(keys):
                mine = (among(OBSERVATIONS, some), *of_base(OBSERVATIONS, version, role))
                query = select(c.tenant, c.user, c.item, c.told).where(*mine)
                for tenant, user, item, observed in db.execute(query):
                    found.setdefault(UserKey(tenant, user), {})[item] = observed
        return found

    def observed_by(self, key: UserKey, item_id: str) -> list[tuple[str, str]]:
        c = OBSERVATIONS.c
        query = select(c.version, c.role).where(*of(OBSERVATIONS, key), c.item == item_id).order_by(c.version, c.role)
        with self._database.reading() as db:
            return [(version, role) for version, role in db.execute(query)]

    @contextmanager
    def updating_observations(self, key: UserKey, version: str, role: str) -> Iterator[SqlObservationUpdate]:
        with self._database.writing() as db:
            stored_histories.lock(db, key)
            yield SqlObservationUpdate(db, key, version, role)

    def profile(self, key: UserKey, kind: str) -> UserProfile | None:
        with self._database.reading() as db:
            return stored_profiles.find(db, key, kind)

    def profile_fingerprints(self, kind: str) -> dict[UserKey, ProfileFingerprint]:
        with self._database.reading() as db:
            return stored_profiles.fingerprints(db, kind)

    def put_profiles(self, profiles: Iterable[tuple[UserKey, UserProfile]]) -> int:
        kept = 0
        # Taken out before the transaction begins: they may be written while they are asked for.
        for some in self._in_turn(_batches(list(profiles), lambda _: 1, _PROFILES_AT_ONCE)):
            with self._database.writing() as db:
                kept += sum(stored_profiles.put(db, key, profile) for key, profile in some)
        return kept

    def delete(self, key: UserKey) -> dict[str, int]:
        counts = dict[str, int]()
        with self._database.writing() as db:
            # History goes first: profiles that are being written with it are then refused.
            for table in (HISTORY_VERSIONS, HISTORY, HEADS, OBSERVATIONS, USER_PREFERENCES, PROFILE_PEERS):
                counts[table.name] = db.execute(delete(table).where(*of(table, key))).rowcount
            counts["profiles"], counts["profiles_of_others"] = stored_profiles.forget(db, key)
        if any(counts.values()) and not self._database.empty_wal(_LOG_S):
            log.warning("others read the store: what was deleted stays in its write-ahead log until they are done")
        return counts

    @property
    def records(self) -> SqlUserRecords:
        return SqlUserRecords(self._database)

    def close(self) -> None:
        self._database.close()

    def _in_turn(self, batches: Iterable[list[One]]) -> Iterator[list[One]]:
        """The batches of a bulk write, with pauses in which others write."""
        for number, batch in enumerate(batches):
            if number and self._database.dialect == "sqlite":
                time.sleep(_PAUSE_S)
            yield batch


class SqlObservationUpdate:
    """Transaction of the database as an `ObservationUpdate`, which documents the methods."""

    def __init__(self, db: Connection, key: UserKey, version: str, role: str) -> None:
        self._db, self._key, self._version, self._role = db, key, version, role

    def put(self, item_id: str, observed: bytes) -> None:
        _put_observations(self._db, self._key, self._version, self._role, {item_id: observed}, replace=False)

    def remove(self, item_id: str) -> bool:
        mine = (*of(OBSERVATIONS, self._key), *of_base(OBSERVATIONS, self._version, self._role))
        return bool(self._db.execute(delete(OBSERVATIONS).where(*mine, OBSERVATIONS.c.item == item_id)).rowcount)

    def append_history(self, item: HistoryItem) -> None:
        stored_histories.append(self._db, self._key, item)

    def delete_item(self, item_id: str) -> bool:
        return stored_histories.remove(self._db, self._key, item_id)

    def all(self) -> list[bytes]:
        c = OBSERVATIONS.c
        mine = (*of(OBSERVATIONS, self._key), *of_base(OBSERVATIONS, self._version, self._role))
        return list(self._db.execute(select(c.told).where(*mine).order_by(c.item)).scalars())

    def head(self) -> Head | None:
        mine = (*of(HEADS, self._key), *of_base(HEADS, self._version, self._role))
        blob = self._db.execute(select(HEADS.c.head).where(*mine)).scalar()
        return None if blob is None else Head.from_bytes(blob)

    def put_head(self, head: Head | None) -> None:
        mine = (*of(HEADS, self._key), *of_base(HEADS, self._version, self._role))
        self._db.execute(delete(HEADS).where(*mine))
        if head is not None:
            self._db.execute(insert(HEADS), [_head_row(self._key, self._version, self._role, head, "")])


def _put_observations(
    db: Connection, key: UserKey, version: str, role: str, observed: Mapping[str, bytes], replace: bool
) -> None:
    mine = (*of(OBSERVATIONS, key), *of_base(OBSERVATIONS, version, role))
    db.execute(delete(OBSERVATIONS).where(*mine, *(() if replace else (OBSERVATIONS.c.item.in_(list(observed)),))))
    if observed:
        about = {**key._asdict(), "version": version, "role": role}
        db.execute(insert(OBSERVATIONS), [{**about, "item": item, "told": blob} for item, blob in observed.items()])


def _head_row(key: UserKey, version: str, role: str, head: Head | None, fingerprint: str) -> dict[str, object]:
    about = {**key._asdict(), "version": version, "role": role, "mark": fingerprint}
    blob = None if head is None else head.to_bytes()
    return {**about, "stamp": uuid.uuid4().hex, "head": blob, "written_at": time.time()}


def _nbytes(head: Head | None) -> int:
    return 64 + (0 if head is None else head.nbytes)


def _batches(many: Iterable[One], size: Callable[[One], int], most: int) -> Iterator[list[One]]:
    """Parts of about the same work, in order; at least one in each, and no more than a statement takes."""
    batch, filled = list[One](), 0
    for one in many:
        if batch and (filled + size(one) > most or len(batch) == KEYS_AT_ONCE):
            yield batch
            batch, filled = [], 0
        batch.append(one)
        filled += size(one)
    if batch:
        yield batch
