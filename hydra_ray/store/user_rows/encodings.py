"""Encodings of what is read of history items, kept beside the history so that nobody makes them again."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, and_, delete, exists, insert, not_, select, tuple_

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store import turns
from hydra_ray.store.database import POLL_S, Database
from hydra_ray.store.rows import among, chunks, of
from hydra_ray.store.tables import HISTORY, HISTORY_VERSIONS, ITEM_ENCODINGS, USER_PREFERENCES

# SQLite takes so many values in one condition on any platform.
_AT_ONCE = 500
# A transaction of so many rows is some 0.1 s of work, after which others write.
_ROWS_AT_ONCE = 1_000
# SQLite's writers look for the lock rather than queue.
_PAUSE_S = 2 * POLL_S

One = TypeVar("One")


class ItemEncoding(NamedTuple):
    """The encoding of one text that is read of an item.

    Attributes:
        item: The item, as it was when it was encoded.
        text: Digest of the text.
        vector: Numbers, as bytes.
    """

    item: HistoryItem
    text: bytes
    vector: bytes


class EncodingStore:
    """Encodings by text, each of which belongs to a user's item: it goes with item and user, and into exports.

    Args:
        database: Database with the tables of this version.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, key: UserKey, encoder: str, texts: Collection[bytes]) -> dict[bytes, bytes]:
        """Return what is kept of some texts of a user, by digest.

        Args:
            key: User whose items say them.
            encoder: Fingerprint of the encoder.
            texts: Digests of the texts.

        Raises:
            StoreError: The database does not answer.
        """
        c, parts = ITEM_ENCODINGS.c, list(_parts(list(texts), _AT_ONCE))

        def work(db: Connection) -> dict[bytes, bytes]:
            mine = (*of(ITEM_ENCODINGS, key), c.encoder == encoder)
            queries = [select(c.text, c.vector).where(*mine, c.text.in_(some)) for some in parts]
            return {text: vector for query in queries for text, vector in db.execute(query)}

        return self._database.read(work)

    def kept(self, keys: Collection[UserKey]) -> dict[UserKey, set[bytes]]:
        """Return the digests of all texts of some users that are encoded, by whatever encoder.

        Raises:
            StoreError: The database does not answer.
        """
        c, found = ITEM_ENCODINGS.c, dict[UserKey, set[bytes]]()
        for some in chunks(keys):
            query = select(c.tenant, c.user, c.text).where(among(ITEM_ENCODINGS, some))
            for tenant, user, text in self._database.read(lambda db, query=query: db.execute(query).all()):  # type: ignore[misc]
                found.setdefault(UserKey(tenant, user), set()).add(text)
        return found

    def saying(self, key: UserKey, answers: Collection[str]) -> list[HistoryItem]:
        """Return a user's items whose answers are among some.

        Raises:
            StoreError: The database does not answer.
        """
        c, found = HISTORY.c, list[HistoryItem]()
        for some in _parts(list(answers), _AT_ONCE):
            query = select(c.id, c.input, c.output, c.ts, c.item_id, c.context).where(
                *of(HISTORY, key), c.output.in_(some)
            )
            rows = self._database.read(lambda db, query=query: db.execute(query).all())  # type: ignore[misc]
            found += [HistoryItem(*row) for row in rows]
        return found

    def users(self, tenants: Collection[str], after: UserKey | None, most: int) -> list[UserKey]:
        """Return users who have a history, in an order that stays; who switched personalisation off is left out.

        Args:
            tenants: Tenants whose users are wanted.
            after: User after whom the next ones come; None begins with the first.
            most: Most users returned.

        Raises:
            StoreError: The database does not answer.
        """
        v, h, p = HISTORY_VERSIONS.c, HISTORY.c, USER_PREFERENCES.c
        has_items = exists().where(h.tenant == v.tenant, h.user == v.user)
        is_off = exists().where(p.tenant == v.tenant, p.user == v.user, not_(p.personalisation))
        query = select(v.tenant, v.user).where(v.tenant.in_(list(tenants)), has_items, ~is_off)
        if after is not None:
            query = query.where(tuple_(v.tenant, v.user) > tuple_(*after))
        query = query.order_by(v.tenant, v.user).limit(most)
        return [UserKey(*row) for row in self._database.read(lambda db: db.execute(query).all())]

    def newest(self, key: UserKey, most: int) -> list[HistoryItem]:
        """Return the last items of a user's history, the last one first.

        Raises:
            StoreError: The database does not answer.
        """
        c = HISTORY.c
        columns = c.id, c.input, c.output, c.ts, c.item_id, c.context
        query = select(*columns).where(*of(HISTORY, key)).order_by(c.place.desc()).limit(most)
        return [HistoryItem(*row) for row in self._database.read(lambda db: db.execute(query).all())]

    def put(self, encoder: str, encoded: Mapping[UserKey, Sequence[ItemEncoding]]) -> int:
        """Keep encodings of those items that are at this moment as they were then; return how many.

        What was deleted or said anew while it was encoded does not come back by it, and of who switched personalisation
        off nothing is kept.

        Args:
            encoder: Fingerprint of the encoder.
            encoded: Encodings by user, in place of those of the same texts.

        Raises:
            StoreError: The database does not answer.
        """
        kept = 0
        for number, some in enumerate(_transactions(encoded)):
            if number and self._database.dialect == "sqlite":
                time.sleep(_PAUSE_S)
            kept += self._database.write(lambda db, some=some: _put(db, encoder, some))  # type: ignore[misc]
        return kept


def forget(db: Connection, key: UserKey, items: Collection[str]) -> None:
    """Remove the encodings of some of a user's items, of every encoder."""
    for some in _parts(list(items), _AT_ONCE):
        db.execute(delete(ITEM_ENCODINGS).where(*of(ITEM_ENCODINGS, key), ITEM_ENCODINGS.c.item.in_(some)))


def _put(db: Connection, encoder: str, encoded: Mapping[UserKey, Sequence[ItemEncoding]]) -> int:
    turns.take(db, encoded)
    rows = list[dict[str, object]]()
    for key, theirs in encoded.items():
        is_off = select(USER_PREFERENCES.c.user).where(
            and_(*of(USER_PREFERENCES, key), not_(USER_PREFERENCES.c.personalisation))
        )
        if db.execute(is_off).first() is not None:
            continue
        said = _said(db, key, {one.item.id for one in theirs})
        there = {one.text: one for one in theirs if said.get(one.item.id) == (one.item.input, one.item.output)}
        for some in _parts(list(there), _AT_ONCE):
            c = ITEM_ENCODINGS.c
            db.execute(delete(ITEM_ENCODINGS).where(*of(ITEM_ENCODINGS, key), c.encoder == encoder, c.text.in_(some)))
        about = {**key._asdict(), "encoder": encoder}
        rows += [{**about, "text": one.text, "item": one.item.id, "vector": one.vector} for one in there.values()]
    if rows:
        db.execute(insert(ITEM_ENCODINGS), rows)
    return len(rows)


def _said(db: Connection, key: UserKey, items: Collection[str]) -> dict[str, tuple[str, str]]:
    """What some items of a user say now: input and output by id."""
    c, found = HISTORY.c, dict[str, tuple[str, str]]()
    for some in _parts(list(items), _AT_ONCE):
        for item, asked, output in db.execute(select(c.id, c.input, c.output).where(*of(HISTORY, key), c.id.in_(some))):
            found[item] = asked, output
    return found


def _transactions(encoded: Mapping[UserKey, Sequence[ItemEncoding]]) -> Iterator[dict[UserKey, list[ItemEncoding]]]:
    """Parts of about the same work; a user of very many items is in several."""
    batch, rows = dict[UserKey, list[ItemEncoding]](), 0
    for key, theirs in encoded.items():
        for some in _parts(theirs, _ROWS_AT_ONCE):
            if rows and rows + len(some) > _ROWS_AT_ONCE:
                yield batch
                batch, rows = {}, 0
            batch[key] = list(some)
            rows += len(some)
    if batch:
        yield batch


def _parts(many: Sequence[One], size: int) -> Iterator[Sequence[One]]:
    for start in range(0, len(many), size):
        yield many[start : start + size]
