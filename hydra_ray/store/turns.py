"""Writers of one user take turns, also the very first ones, and know whether the user was deleted meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql

from hydra_ray.records import UserKey
from hydra_ray.store.tables import DELETIONS

_AT_ONCE = 500


def take(db: Connection, keys: Iterable[UserKey]) -> None:
    """Has whoever else would write of these users wait until the transaction ends.

    It goes first in every transaction that writes of users. SQLite, whose writers have the only lock, needs none.
    """
    if db.dialect.name != "postgresql":
        return
    # All in one order: two who want the same users never wait for each other.
    digests, c = sorted({_digest(key) for key in keys}), DELETIONS.c
    for start in range(0, len(digests), _AT_ONCE):
        some = digests[start : start + _AT_ONCE]
        lock = select(c.digest).where(c.digest.in_(some)).order_by(c.digest).with_for_update()
        if len(db.execute(lock).all()) < len(some):
            made = postgresql.insert(DELETIONS).values([{"digest": digest, "number": 0} for digest in some])
            db.execute(made.on_conflict_do_nothing())
            db.execute(lock).all()


def deletions(db: Connection, key: UserKey) -> int:
    """Return how often a user was deleted."""
    return db.execute(select(DELETIONS.c.number).where(DELETIONS.c.digest == _digest(key))).scalar() or 0


def count_deletion(db: Connection, key: UserKey) -> None:
    """Notes that a user is deleted."""
    mine = DELETIONS.c.digest == _digest(key)
    if not db.execute(update(DELETIONS).where(mine).values(number=DELETIONS.c.number + 1)).rowcount:
        db.execute(insert(DELETIONS).values(digest=_digest(key), number=1))


def _digest(key: UserKey) -> str:
    # Names do not stay behind. Tenants hold no zero.
    return sha256("\0".join(key).encode("utf-8", "surrogatepass")).hexdigest()
