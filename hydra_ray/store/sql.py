"""Store of users in SQLite or any database SQLAlchemy speaks to: one row an item, one a (user, version, role)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, insert, select

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store import histories as stored_histories
from hydra_ray.store import profiles as stored_profiles
from hydra_ray.store import turns
from hydra_ray.store.completions import rows as stored_completions
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.database import POLL_S
from hydra_ray.store.rights.sql import SqlUserRecords
from hydra_ray.store.rows import KEYS_AT_ONCE, among, chunks, of, of_base, users_in
from hydra_ray.store.schema import open_database
from hydra_ray.store.tables import (
    COMPLETIONS,
    FEEDBACK_EVENTS,
    HEADS,
    HISTORY,
    HISTORY_VERSIONS,
    ITEM_ENCODINGS,
    OBSERVATIONS,
    PROFILE_PEERS,
    USER_PREFERENCES,
)
from hydra_ray.store.types import (
    WHOLE_USER,
    DeletedMeanwhileError,
    FeedbackEvent,
    FittedUser,
    HistoryChange,
    HistoryVersion,
    MergeReport,
    ProfileFingerprint,
    StoredHead,
    Tombstone,
    UserProfile,
)
from hydra_ray.store.user_rows import events as stored_events
from hydra_ray.store.user_rows import fitted as rows_of_fits
from hydra_ray.store.user_rows import merging
from hydra_ray.store.user_rows import tombstones as stored_tombstones
from hydra_ray.store.user_rows.together import content_digest
from hydra_ray.store.user_rows.update import SqlObservationUpdate, append

if TYPE_CHECKING:
    from hydra_ray.models.heads import Head

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
    meanwhile. A transaction that is cut off is run again.

    Args:
        target: Store to open, or its SQLAlchemy URL, e.g. `sqlite:///runs/users.db`.

    Raises:
        HydraError: The database cannot be opened, or a newer version of hydra-ray made it.
    """

    def __init__(self, target: StoreTarget | str) -> None:
        self._database = open_database(target)

    def put_histories(self, histories: Mapping[UserKey, Sequence[HistoryItem]]) -> None:
        _check_ids(histories)
        for keys in self._in_turn(_batches(histories, lambda key: len(histories[key]), _ROWS_AT_ONCE)):
            some = {key: histories[key] for key in keys}
            self._write_of(keys, lambda db, some=some: stored_histories.replace(db, some))  # type: ignore[misc]

    def merge_histories(self, histories: Mapping[UserKey, Sequence[HistoryItem]], replace: bool = False) -> MergeReport:
        _check_ids(histories)
        report = MergeReport()
        for keys in self._in_turn(_batches(sorted(histories), lambda key: len(histories[key]), _ROWS_AT_ONCE)):
            some = {key: histories[key] for key in keys}
            report += self._write_of(keys, partial(merging.merge, histories=some, replace=replace))
        return report

    def append_history(self, key: UserKey, item: HistoryItem) -> None:
        self._write_of([key], lambda db: append(db, key, item))

    def delete_item(self, key: UserKey, item_id: str) -> bool:
        def work(db: Connection) -> bool:
            item = stored_histories.item(db, key, item_id)
            stored_histories.remove(db, key, item_id)
            # Before its event goes, which says of which completion the item was made.
            answered = stored_completions.forget(db, key, item_id)
            found = stored_events.remove(db, key, item_id) or answered or item is not None
            stored_profiles.forget(db, key)
            if found and item_id != WHOLE_USER:
                stored_tombstones.leave(db, key, item_id, "" if item is None else content_digest(key, item))
            return found

        return self._write_of([key], work)

    def history(self, key: UserKey) -> tuple[HistoryItem, ...]:
        return self._database.read(lambda db: stored_histories.find(db, key))

    def history_item(self, key: UserKey, item_id: str) -> HistoryItem | None:
        return self._database.read(lambda db: stored_histories.item(db, key, item_id))

    def history_version(self, key: UserKey) -> HistoryVersion | None:
        return self._database.read(lambda db: stored_histories.version(db, key))

    def history_change(self, key: UserKey, since: HistoryVersion | None) -> HistoryChange:
        return self._database.read(lambda db: stored_histories.change(db, key, since))

    def histories(self, tenant: str) -> dict[UserKey, list[HistoryItem]]:
        return self._database.read(lambda db: stored_histories.of_tenant(db, tenant))

    def users_with_history(self, tenant: str, after: str | None, most: int) -> list[str]:
        return self._database.read(lambda db: users_in(db, HISTORY, tenant, after, most))

    def users_with_events(self, tenant: str, after: str | None, most: int) -> list[str]:
        return self._database.read(lambda db: users_in(db, FEEDBACK_EVENTS, tenant, after, most))

    def histories_of(self, keys: Iterable[UserKey]) -> dict[UserKey, HistoryChange]:
        wanted = list(keys)
        return self._database.read(lambda db: stored_histories.of_users(db, wanted))

    def put_heads(
        self,
        version: str,
        role: str,
        heads: Mapping[UserKey, Head | None],
        fingerprints: Mapping[UserKey, str] | None = None,
    ) -> None:
        for keys in self._in_turn(_batches(heads, lambda key: _nbytes(heads[key]), _BYTES_AT_ONCE)):
            rows = [
                rows_of_fits.head_row(key, version, role, heads[key], (fingerprints or {}).get(key, "")) for key in keys
            ]

            def work(db: Connection, keys: list[UserKey] = keys, rows: list[dict[str, object]] = rows) -> None:
                db.execute(delete(HEADS).where(*of_base(HEADS, version, role), among(HEADS, keys)))
                db.execute(insert(HEADS), rows)

            self._write_of(keys, work)

    def head(self, key: UserKey, version: str, role: str) -> Head | None:
        query = select(HEADS.c.head).where(*of(HEADS, key), *of_base(HEADS, version, role))
        blob = self._database.read(lambda db: db.execute(query).scalar())
        return None if blob is None else rows_of_fits.head(blob)

    def heads(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, StoredHead]:
        c = HEADS.c
        wanted = c.stamp, c.head, c.written_at
        rows = self._of_users(HEADS, keys, wanted, *of_base(HEADS, version, role), c.head.is_not(None))
        return {key: StoredHead(stamp, rows_of_fits.head(blob), at) for key, stamp, blob, at in rows}

    def stamps(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, str]:
        c = HEADS.c
        rows = self._of_users(HEADS, keys, (c.stamp,), *of_base(HEADS, version, role), c.head.is_not(None))
        return {key: stamp for key, stamp in rows}  # noqa: C416

    def head_fingerprints(self, version: str, role: str, keys: Iterable[UserKey] | None = None) -> dict[UserKey, str]:
        c = HEADS.c
        if keys is not None:
            found = self._of_users(HEADS, keys, (c.mark,), *of_base(HEADS, version, role))
            return {key: mark for key, mark in found}  # noqa: C416
        query = select(c.tenant, c.user, c.mark).where(*of_base(HEADS, version, role)).order_by(c.tenant, c.user)
        rows = self._database.read(lambda db: db.execute(query).all())
        return {UserKey(tenant, user): made_from for tenant, user, made_from in rows}

    def users_with_head(self, version: str, role: str) -> list[UserKey]:
        c = HEADS.c
        query = select(c.tenant, c.user).where(*of_base(HEADS, version, role), c.head.is_not(None))
        rows = self._database.read(lambda db: db.execute(query.order_by(c.tenant, c.user)).all())
        return [UserKey(*row) for row in rows]

    def put_observations(self, version: str, role: str, observed: Mapping[UserKey, Mapping[str, bytes]]) -> None:
        for keys in self._in_turn(
            _batches(observed, lambda key: 64 + sum(map(len, observed[key].values())), _BYTES_AT_ONCE)
        ):

            def work(db: Connection, keys: list[UserKey] = keys) -> None:
                for key in keys:
                    rows_of_fits.put_observations(db, key, version, role, observed[key], replace=True)

            self._write_of(keys, work)

    def put_fitted(self, version: str, role: str, fitted: Mapping[UserKey, FittedUser]) -> set[UserKey]:
        stale = set[UserKey]()
        for keys in self._in_turn(_batches(sorted(fitted), lambda key: _nbytes(fitted[key].head), _BYTES_AT_ONCE)):
            some = {key: fitted[key] for key in keys}
            stale |= self._write_of(keys, partial(rows_of_fits.put_fitted, version=version, role=role, fitted=some))
        return stale

    def observations(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, dict[str, bytes]]:
        c, found = OBSERVATIONS.c, dict[UserKey, dict[str, bytes]]()
        for key, item, observed in self._of_users(
            OBSERVATIONS, keys, (c.item, c.told), *of_base(OBSERVATIONS, version, role)
        ):
            found.setdefault(key, {})[item] = observed
        return found

    def observed_by(self, key: UserKey, item_id: str) -> list[tuple[str, str]]:
        c = OBSERVATIONS.c
        query = select(c.version, c.role).where(*of(OBSERVATIONS, key), c.item == item_id).order_by(c.version, c.role)
        return [(version, role) for version, role in self._database.read(lambda db: db.execute(query).all())]

    @contextmanager
    def updating_observations(
        self, key: UserKey, version: str, role: str, deletions: int | None = None
    ) -> Iterator[SqlObservationUpdate]:
        with self._database.writing() as db:
            turns.take(db, [key])
            if deletions is not None and turns.deletions(db, key) != deletions:
                raise DeletedMeanwhileError(f"user {key.user} of tenant {key.tenant} was deleted meanwhile")
            yield SqlObservationUpdate(db, key, version, role)

    def feedback_events(self, keys: Iterable[UserKey]) -> dict[UserKey, list[FeedbackEvent]]:
        wanted = list(keys)
        return self._database.read(lambda db: stored_events.find(db, wanted))

    def tombstones(self, tenant: str) -> list[Tombstone]:
        return self._database.read(lambda db: stored_tombstones.of_tenant(db, tenant))

    def put_tombstones(self, tombstones: Iterable[Tombstone]) -> None:
        put = list(tombstones)
        self._write_of(sorted({one.key for one in put}), lambda db: stored_tombstones.put(db, put))

    def undelete(self, key: UserKey, item_id: str = WHOLE_USER) -> bool:
        return self._write_of([key], lambda db: stored_tombstones.lift(db, key, item_id))

    def profile(self, key: UserKey, kind: str) -> UserProfile | None:
        return self._database.read(lambda db: stored_profiles.find(db, key, kind))

    def profile_fingerprints(self, kind: str) -> dict[UserKey, ProfileFingerprint]:
        return self._database.read(lambda db: stored_profiles.fingerprints(db, kind))

    def put_profiles(self, profiles: Iterable[tuple[UserKey, UserProfile]]) -> int:
        kept = 0
        # Taken out before the transaction begins: they may be written while they are asked for.
        for some in self._in_turn(_batches(list(profiles), lambda _: 1, _PROFILES_AT_ONCE)):

            def work(db: Connection, some: list[tuple[UserKey, UserProfile]] = some) -> int:
                return sum(stored_profiles.put(db, key, profile) for key, profile in some)

            kept += self._write_of([one for key, profile in some for one in (key, *profile.peers)], work)
        return kept

    def delete(self, key: UserKey) -> dict[str, int]:
        # History goes first: profiles that are being written with it are then refused.
        said = HISTORY_VERSIONS, HISTORY, ITEM_ENCODINGS, FEEDBACK_EVENTS, COMPLETIONS
        theirs = *said, HEADS, OBSERVATIONS, USER_PREFERENCES, PROFILE_PEERS

        def work(db: Connection) -> dict[str, int]:
            counts = {table.name: db.execute(delete(table).where(*of(table, key))).rowcount for table in theirs}
            counts["profiles"], counts["profiles_of_others"] = stored_profiles.forget(db, key)
            turns.count_deletion(db, key)
            stored_tombstones.leave(db, key, WHOLE_USER)
            return counts

        counts = self._write_of([key], work)
        if any(counts.values()) and not self._database.empty_wal(_LOG_S):
            log.warning("others read the store: what was deleted stays in its write-ahead log until they are done")
        return counts

    @property
    def records(self) -> SqlUserRecords:
        return SqlUserRecords(self._database)

    def deletions(self, key: UserKey) -> int:
        return self._database.read(lambda db: turns.deletions(db, key))

    def close(self) -> None:
        self._database.close()

    def _write_of(self, keys: Sequence[UserKey], work: Callable[[Connection], One]) -> One:
        """Run a transaction that writes of these users, once nobody else does."""

        def in_turn(db: Connection) -> One:
            turns.take(db, keys)
            return work(db)

        return self._database.write(in_turn)

    def _of_users(
        self, table: Table, keys: Iterable[UserKey], columns: Sequence[Column], *which: ColumnElement[bool]
    ) -> list[tuple[Any, ...]]:
        """Each row as its user and the columns, all of one state of the database."""
        parts, c = list(chunks(keys)), table.c

        def work(db: Connection) -> list[tuple[Any, ...]]:
            queries = [select(c.tenant, c.user, *columns).where(among(table, some), *which) for some in parts]
            return [(UserKey(row[0], row[1]), *row[2:]) for query in queries for row in db.execute(query)]

        return self._database.read(work)

    def _in_turn(self, batches: Iterable[list[One]]) -> Iterator[list[One]]:
        """The batches of a bulk write, with pauses in which others write."""
        for number, batch in enumerate(batches):
            if number and self._database.dialect == "sqlite":
                time.sleep(_PAUSE_S)
            yield batch


def _check_ids(histories: Mapping[UserKey, Sequence[HistoryItem]]) -> None:
    for key, items in histories.items():
        if len({item.id for item in items}) < len(items):
            raise ValueError(f"{key}: two items of the history have the same id")


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
