"""Histories, heads and evidence of users: one row an item, one row a (user, model version, role)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, and_, create_engine, delete, insert, inspect, make_url, or_, select
from sqlalchemy.exc import SQLAlchemyError

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.store import profiles as stored_profiles
from hydra_ray.store.profiles import ProfileMark, UserProfile
from hydra_ray.store.tables import EVIDENCE, HEADS, HISTORY, METADATA

# SQLite nests at most 1,000 expressions in each other, and each tenant is one.
_KEYS_AT_ONCE = 900


class UserStore:
    """What is known of each user, in SQLite or any database SQLAlchemy speaks to.

    Args:
        url: SQLAlchemy URL, e.g. `sqlite:///runs/model/users.db`.

    Raises:
        HydraError: The database cannot be opened, or an older version of hydra-ray made it.
    """

    def __init__(self, url: str) -> None:
        try:
            shown = make_url(url).render_as_string(hide_password=True)
        except (SQLAlchemyError, ValueError):
            # Not quoted: what is no URL may still hold a password.
            raise HydraError("model.store: write it as an SQLAlchemy URL, e.g. sqlite:///users.db") from None
        try:
            self._engine: Engine = create_engine(url)
            found = inspect(self._engine)
            is_new = not found.has_table(HEADS.name)
            fits = is_new or {column["name"] for column in found.get_columns(HEADS.name)} == set(HEADS.columns.keys())
            if fits:
                METADATA.create_all(self._engine)
        except (SQLAlchemyError, ImportError) as error:
            reason = getattr(error, "orig", None) or error
            raise HydraError(f"model.store: {shown} cannot be opened: {reason}") from error
        if not fits:
            raise HydraError(f"model.store: {shown} was made by another version of hydra-ray; fit into a new store")

    def put_history(self, key: UserKey, items: Sequence[HistoryItem]) -> None:
        """Replaces one user's history."""
        self.put_histories({key: items})

    def put_histories(self, histories: Mapping[UserKey, Sequence[HistoryItem]]) -> None:
        """Replaces users' histories; a transaction, which is what takes time, is for many of them."""
        for keys in _chunks(histories):
            with self._engine.begin() as db:
                db.execute(delete(HISTORY).where(_among(HISTORY, keys)))
                rows = [_row(key, place, item) for key in keys for place, item in enumerate(histories[key])]
                if rows:
                    db.execute(insert(HISTORY), rows)

    def append_history(self, key: UserKey, item: HistoryItem) -> None:
        """Adds one item at the end of a user's history; one of the same id is replaced and moves there."""
        with self._engine.begin() as db:
            _append(db, key, item)

    def delete_item(self, key: UserKey, item_id: str) -> bool:
        """Removes one item of a user's history, and all profiles that may tell of it; tells whether there was one."""
        with self._engine.begin() as db:
            found = _delete_item(db, key, item_id)
            stored_profiles.forget(db, key)
            return found

    def history(self, key: UserKey) -> tuple[HistoryItem, ...]:
        """One user's history, oldest first; empty for an unknown user."""
        c = HISTORY.c
        query = select(c.id, c.input, c.output, c.ts, c.item_id, c.context).where(*_of(HISTORY, key)).order_by(c.place)
        with self._engine.connect() as db:
            return tuple(HistoryItem(**row) for row in db.execute(query).mappings())

    def histories(self, tenant: str) -> dict[UserKey, list[HistoryItem]]:
        """The histories of a tenant's users, each oldest first, users in order of their keys."""
        c, found = HISTORY.c, dict[UserKey, list[HistoryItem]]()
        query = select(c.user, c.id, c.input, c.output, c.ts, c.item_id, c.context).where(c.tenant == tenant)
        with self._engine.connect() as db:
            for user, *item in db.execute(query.order_by(c.user, c.place)):
                found.setdefault(UserKey(tenant, user), []).append(HistoryItem(*item))
        return found

    def put_heads(
        self, version: str, role: str, heads: Mapping[UserKey, Head | None], marks: Mapping[UserKey, str] | None = None
    ) -> None:
        """Writes users' heads for one role of one model version, replacing older ones of the same.

        Args:
            version: Of the base.
            role: Reranker or adapter.
            heads: By user; None for who gets the shared answer.
            marks: What each was fitted from, for `marks`.
        """
        with self._engine.begin() as db:
            for keys in _chunks(heads):
                db.execute(delete(HEADS).where(*_about(HEADS, version, role), _among(HEADS, keys)))
                db.execute(
                    insert(HEADS),
                    [_head_row(key, version, role, heads[key], (marks or {}).get(key, "")) for key in keys],
                )

    def head(self, key: UserKey, version: str, role: str) -> Head | None:
        """One user's head, None for a user without one."""
        query = select(HEADS.c.head).where(*_of(HEADS, key), *_about(HEADS, version, role))
        with self._engine.connect() as db:
            blob = db.execute(query).scalar()
        return None if blob is None else Head.from_bytes(blob)

    def heads(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, tuple[str, Head]]:
        """Stamps and heads of those of the users who have one."""
        c, found = HEADS.c, dict[UserKey, tuple[str, Head]]()
        with self._engine.connect() as db:
            for some in _chunks(keys):
                mine = (_among(HEADS, some), *_about(HEADS, version, role), c.head.is_not(None))
                query = select(c.tenant, c.user, c.stamp, c.head).where(*mine)
                for tenant, user, stamp, blob in db.execute(query):
                    found[UserKey(tenant, user)] = (stamp, Head.from_bytes(blob))
        return found

    def stamps(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, str]:
        """Of those of the users who have a head: what changes whenever it is written."""
        c, found = HEADS.c, dict[UserKey, str]()
        with self._engine.connect() as db:
            for some in _chunks(keys):
                mine = (_among(HEADS, some), *_about(HEADS, version, role), c.head.is_not(None))
                query = select(c.tenant, c.user, c.stamp).where(*mine)
                found |= {UserKey(tenant, user): stamp for tenant, user, stamp in db.execute(query)}
        return found

    def marks(self, version: str, role: str) -> dict[UserKey, str]:
        """What each user was fitted from, those among them who got no head, in order of their keys."""
        c = HEADS.c
        query = select(c.tenant, c.user, c.mark).where(*_about(HEADS, version, role)).order_by(c.tenant, c.user)
        with self._engine.connect() as db:
            return {UserKey(tenant, user): mark for tenant, user, mark in db.execute(query)}

    def users_with_head(self, version: str, role: str) -> list[UserKey]:
        """Users that have a head, in order of their keys."""
        c = HEADS.c
        query = select(c.tenant, c.user).where(*_about(HEADS, version, role), c.head.is_not(None))
        with self._engine.connect() as db:
            return [UserKey(*row) for row in db.execute(query.order_by(c.tenant, c.user))]

    def put_evidence(
        self, version: str, role: str, told: Mapping[UserKey, Mapping[str, bytes]], *, replace: bool = True
    ) -> None:
        """Writes what users' posteriors depend on, by item.

        Args:
            version: Of the base.
            role: Reranker or adapter.
            told: By user and item id.
            replace: Whether evidence of items that are not named goes.
        """
        with self._engine.begin() as db:
            for key, by_item in told.items():
                _put_evidence(db, key, version, role, by_item, replace)

    def evidence(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, dict[str, bytes]]:
        """Of those of the users who have any: what their posteriors depend on, by item id."""
        c, found = EVIDENCE.c, dict[UserKey, dict[str, bytes]]()
        with self._engine.connect() as db:
            for some in _chunks(keys):
                mine = (_among(EVIDENCE, some), *_about(EVIDENCE, version, role))
                query = select(c.tenant, c.user, c.item, c.told).where(*mine)
                for tenant, user, item, told in db.execute(query):
                    found.setdefault(UserKey(tenant, user), {})[item] = told
        return found

    def users(self) -> list[UserKey]:
        """All users with any history, in order of their keys."""
        c = HISTORY.c
        with self._engine.connect() as db:
            rows = db.execute(select(c.tenant, c.user).distinct().order_by(c.tenant, c.user))
            return [UserKey(tenant, user) for tenant, user in rows]

    def told_by(self, key: UserKey, item_id: str) -> list[tuple[str, str]]:
        """Versions and roles in which there is evidence of one item of a user."""
        c = EVIDENCE.c
        query = select(c.version, c.role).where(*_of(EVIDENCE, key), c.item == item_id).order_by(c.version, c.role)
        with self._engine.connect() as db:
            return [(version, role) for version, role in db.execute(query)]

    @contextmanager
    def updating_evidence(self, key: UserKey, version: str, role: str) -> Iterator[EvidenceUpdate]:
        """One transaction in which a user's evidence changes and the head that follows from it is written.

        The first change takes the database's write lock (SQLite), so two updates of one user follow
        each other.
        """
        with self._engine.begin() as db:
            yield EvidenceUpdate(db, key, version, role)

    def profile(self, key: UserKey, kind: str) -> UserProfile | None:
        """One user's profile of one kind."""
        with self._engine.connect() as db:
            return stored_profiles.find(db, key, kind)

    def profile_marks(self, kind: str) -> dict[UserKey, ProfileMark]:
        """What each user's profile of one kind was made of."""
        with self._engine.connect() as db:
            return stored_profiles.marks(db, kind)

    def put_profiles(self, profiles: Iterable[tuple[UserKey, UserProfile]]) -> int:
        """Writes users' profiles, each replacing the user's own of the same kind.

        Returns:
            How many were kept. One is not where the user, or somebody whose texts were read for it, has no history
            here: they were deleted while it was written.
        """
        with self._engine.begin() as db:
            return sum(stored_profiles.put(db, key, profile) for key, profile in profiles)

    def delete(self, key: UserKey) -> None:
        """Removes all that is known of exactly this user, everybody's profiles that were made with their texts among
        it.
        """
        with self._engine.begin() as db:
            # History goes first: profiles that are being written with it are then refused.
            for table in (HISTORY, HEADS, EVIDENCE):
                db.execute(delete(table).where(*_of(table, key)))
            stored_profiles.forget(db, key)

    def close(self) -> None:
        """Lets the database go."""
        self._engine.dispose()


class EvidenceUpdate:
    """A transaction on one user's evidence, its items and the head; made by `UserStore.updating_evidence`."""

    def __init__(self, db: Connection, key: UserKey, version: str, role: str) -> None:
        self._db, self._key, self._version, self._role = db, key, version, role

    def put(self, item_id: str, told: bytes) -> None:
        """Adds an item's evidence, or replaces it."""
        _put_evidence(self._db, self._key, self._version, self._role, {item_id: told}, replace=False)

    def remove(self, item_id: str) -> bool:
        """Removes an item's evidence; tells whether there was any."""
        mine = (*_of(EVIDENCE, self._key), *_about(EVIDENCE, self._version, self._role))
        return bool(self._db.execute(delete(EVIDENCE).where(*mine, EVIDENCE.c.item == item_id)).rowcount)

    def append_history(self, item: HistoryItem) -> None:
        """As `UserStore.append_history`."""
        _append(self._db, self._key, item)

    def delete_item(self, item_id: str) -> bool:
        """As `UserStore.delete_item`."""
        return _delete_item(self._db, self._key, item_id)

    def all(self) -> list[bytes]:
        """All of the user's evidence, in the order of item ids."""
        c = EVIDENCE.c
        mine = (*_of(EVIDENCE, self._key), *_about(EVIDENCE, self._version, self._role))
        return list(self._db.execute(select(c.told).where(*mine).order_by(c.item)).scalars())

    def head(self) -> Head | None:
        """The user's head as it is."""
        mine = (*_of(HEADS, self._key), *_about(HEADS, self._version, self._role))
        blob = self._db.execute(select(HEADS.c.head).where(*mine)).scalar()
        return None if blob is None else Head.from_bytes(blob)

    def put_head(self, head: Head | None) -> None:
        """Writes the user's head; None removes it. Its mark is empty: the next fit starts from history again."""
        mine = (*_of(HEADS, self._key), *_about(HEADS, self._version, self._role))
        self._db.execute(delete(HEADS).where(*mine))
        if head is not None:
            self._db.execute(insert(HEADS), [_head_row(self._key, self._version, self._role, head, "")])


def _append(db: Connection, key: UserKey, item: HistoryItem) -> None:
    _delete_item(db, key, item.id)
    last = db.execute(
        select(HISTORY.c.place).where(*_of(HISTORY, key)).order_by(HISTORY.c.place.desc()).limit(1)
    ).scalar()
    db.execute(insert(HISTORY), [_row(key, 0 if last is None else last + 1, item)])


def _delete_item(db: Connection, key: UserKey, item_id: str) -> bool:
    return bool(db.execute(delete(HISTORY).where(*_of(HISTORY, key), HISTORY.c.id == item_id)).rowcount)


def _put_evidence(
    db: Connection, key: UserKey, version: str, role: str, told: Mapping[str, bytes], replace: bool
) -> None:
    mine = (*_of(EVIDENCE, key), *_about(EVIDENCE, version, role))
    db.execute(delete(EVIDENCE).where(*mine, *(() if replace else (EVIDENCE.c.item.in_(list(told)),))))
    if told:
        about = {**key._asdict(), "version": version, "role": role}
        db.execute(insert(EVIDENCE), [{**about, "item": item, "told": blob} for item, blob in told.items()])


def _row(key: UserKey, place: int, item: HistoryItem) -> dict[str, object]:
    return {
        **key._asdict(),
        "place": place,
        "id": item.id,
        "input": item.input,
        "output": item.output,
        "ts": item.ts,
        "item_id": item.item_id,
        "context": item.context,
    }


def _head_row(key: UserKey, version: str, role: str, head: Head | None, mark: str) -> dict[str, object]:
    about = {**key._asdict(), "version": version, "role": role, "mark": mark}
    return {**about, "stamp": uuid.uuid4().hex, "head": None if head is None else head.to_bytes()}


def _of(table, key: UserKey):  # type: ignore[no-untyped-def]
    return table.c.tenant == key.tenant, table.c.user == key.user


def _about(table, version: str, role: str):  # type: ignore[no-untyped-def]
    return table.c.version == version, table.c.role == role


def _among(table, keys: Sequence[UserKey]):  # type: ignore[no-untyped-def]
    """The rows of some users, found in the index: SQLite reads a whole table for pairs of (tenant, user)."""
    by_tenant: dict[str, list[str]] = {}
    for tenant, user in keys:
        by_tenant.setdefault(tenant, []).append(user)
    return or_(*(and_(table.c.tenant == tenant, table.c.user.in_(users)) for tenant, users in by_tenant.items()))


def _chunks(keys: Iterable[UserKey]) -> Iterator[list[UserKey]]:
    keys = list(keys)
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        yield keys[start : start + _KEYS_AT_ONCE]
