"""Histories and heads of users: one row an item, one row a (user, model version, role)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safetensors.torch import load, save
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    insert,
    make_url,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from torch import Tensor

from hydra_ray.records import HistoryItem, HydraError, UserKey

_metadata = MetaData()

_items = Table(
    "history",
    _metadata,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("input", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("ts", String),
    Column("item_id", String),
    Column("context", Text, nullable=False),
)

_heads = Table(
    "heads",
    _metadata,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("role", String, primary_key=True),
    Column("head", LargeBinary, nullable=False),
)


class UserStore:
    """What is known of each user, in SQLite or any database SQLAlchemy speaks to.

    Args:
        url: SQLAlchemy URL, e.g. `sqlite:///runs/model/users.db`.

    Raises:
        HydraError: The database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        try:
            shown = make_url(url).render_as_string(hide_password=True)
        except (SQLAlchemyError, ValueError):
            # Not quoted: what is no URL may still hold a password.
            raise HydraError("model.store: write it as an SQLAlchemy URL, e.g. sqlite:///users.db") from None
        try:
            self._engine: Engine = create_engine(url)
            _metadata.create_all(self._engine)
        except (SQLAlchemyError, ImportError) as error:
            reason = getattr(error, "orig", None) or error
            raise HydraError(f"model.store: {shown} cannot be opened: {reason}") from error

    def put_history(self, key: UserKey, items: Sequence[HistoryItem]) -> None:
        """Replaces one user's history."""
        rows = [
            {
                **key._asdict(),
                "place": place,
                "id": item.id,
                "input": item.input,
                "output": item.output,
                "ts": item.ts,
                "item_id": item.item_id,
                "context": item.context,
            }
            for place, item in enumerate(items)
        ]
        with self._engine.begin() as db:
            db.execute(delete(_items).where(_items.c.tenant == key.tenant, _items.c.user == key.user))
            if rows:
                db.execute(insert(_items), rows)

    def history(self, key: UserKey) -> tuple[HistoryItem, ...]:
        """One user's history, oldest first; empty for an unknown user."""
        c = _items.c
        query = (
            select(c.id, c.input, c.output, c.ts, c.item_id, c.context)
            .where(c.tenant == key.tenant, c.user == key.user)
            .order_by(c.place)
        )
        with self._engine.connect() as db:
            return tuple(HistoryItem(**row) for row in db.execute(query).mappings())

    def put_heads(self, version: str, role: str, heads: Mapping[UserKey, Mapping[str, Tensor]]) -> None:
        """Writes users' heads for one role of one model version, replacing older ones of the same."""
        mine = (_heads.c.version == version, _heads.c.role == role)
        with self._engine.begin() as db:
            for key, head in heads.items():
                db.execute(delete(_heads).where(_heads.c.tenant == key.tenant, _heads.c.user == key.user, *mine))
                row = {**key._asdict(), "version": version, "role": role, "head": save(dict(head))}
                db.execute(insert(_heads), row)

    def head(self, key: UserKey, version: str, role: str) -> dict[str, Tensor] | None:
        """One user's head, None for a user without one."""
        c = _heads.c
        query = select(c.head).where(c.tenant == key.tenant, c.user == key.user, c.version == version, c.role == role)
        with self._engine.connect() as db:
            blob = db.execute(query).scalar()
        return None if blob is None else load(blob)

    def users_with_head(self, version: str, role: str) -> list[UserKey]:
        """Users that have a head, in order of their keys."""
        c = _heads.c
        query = select(c.tenant, c.user).where(c.version == version, c.role == role).order_by(c.tenant, c.user)
        with self._engine.connect() as db:
            return [UserKey(*row) for row in db.execute(query)]

    def delete(self, key: UserKey) -> None:
        """Removes all that is known of exactly this user."""
        with self._engine.begin() as db:
            for table in (_items, _heads):
                db.execute(delete(table).where(table.c.tenant == key.tenant, table.c.user == key.user))

    def close(self) -> None:
        """Lets the database go."""
        self._engine.dispose()
