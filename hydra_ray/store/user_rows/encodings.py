"""Encodings of history items, kept beside the history so that no replica makes them again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from hydra_ray.records import UserKey
from hydra_ray.store import turns
from hydra_ray.store.database import Database
from hydra_ray.store.rows import of
from hydra_ray.store.tables import HISTORY, ITEM_ENCODINGS

# SQLite takes so many values in one condition on any platform.
_AT_ONCE = 500


class ItemEncoding(NamedTuple):
    """The encoding of what the reranker reads of one item.

    Attributes:
        text: Digest of the text that was encoded: an item that was said again with another text has another one.
        vector: Numbers, as bytes.
    """

    text: bytes
    vector: bytes


class EncodingStore:
    """Encodings by item, which belong to their users: they go with the item, with the user, and into exports.

    Args:
        database: Database with the tables of this version.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, key: UserKey, encoder: str, items: Sequence[str]) -> dict[str, ItemEncoding]:
        """Return encodings of some of a user's items, by item.

        Args:
            key: User whose items they are.
            encoder: Fingerprint of the encoder.
            items: Ids of the items.

        Raises:
            StoreError: The database does not answer.
        """
        c, found = ITEM_ENCODINGS.c, dict[str, ItemEncoding]()
        for some in _parts(items):
            query = select(c.item, c.text, c.vector).where(
                *of(ITEM_ENCODINGS, key), c.encoder == encoder, c.item.in_(some)
            )
            rows = self._database.read(lambda db, query=query: db.execute(query).all())  # type: ignore[misc]
            found |= {item: ItemEncoding(text, vector) for item, text, vector in rows}
        return found

    def put(self, key: UserKey, encoder: str, encoded: Mapping[str, ItemEncoding]) -> int:
        """Keep encodings of those items that the user has at this moment; return how many.

        What was deleted while it was encoded does not come back by it.

        Args:
            key: User whose items they are.
            encoder: Fingerprint of the encoder.
            encoded: Encodings by item, in place of those that are there.

        Raises:
            StoreError: The database does not answer.
        """

        def work(db: Connection, some: Sequence[str]) -> int:
            turns.take(db, [key])
            there = db.execute(select(HISTORY.c.id).where(*of(HISTORY, key), HISTORY.c.id.in_(some))).scalars().all()
            _delete(db, key, there, encoder)
            rows = [{**key._asdict(), "item": item, "encoder": encoder, **encoded[item]._asdict()} for item in there]
            if rows:
                db.execute(insert(ITEM_ENCODINGS), rows)
            return len(rows)

        parts = _parts(list(encoded))
        return sum(self._database.write(lambda db, some=some: work(db, some)) for some in parts)  # type: ignore[misc]


def forget(db: Connection, key: UserKey, items: Collection[str]) -> None:
    """Remove the encodings of some of a user's items, of every encoder."""
    _delete(db, key, list(items), None)


def _delete(db: Connection, key: UserKey, items: Sequence[str], encoder: str | None) -> None:
    c = ITEM_ENCODINGS.c
    which = () if encoder is None else (c.encoder == encoder,)
    for some in _parts(items):
        db.execute(delete(ITEM_ENCODINGS).where(*of(ITEM_ENCODINGS, key), c.item.in_(some), *which))


def _parts(items: Sequence[str]) -> list[Sequence[str]]:
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]
