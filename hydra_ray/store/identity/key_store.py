"""Where API keys are kept: the protocol, and tables of a database."""

from __future__ import annotations

import time
from typing import Any, Protocol

from sqlalchemy import Connection, RowMapping, insert, or_, select, update

from hydra_ray.records import HydraError
from hydra_ray.store.audit import add_entry
from hydra_ray.store.database import Database
from hydra_ray.store.identity.keys import ApiKey, hash_of, new_text, same_hash, with_new_text
from hydra_ray.store.tables import API_KEYS


class KeyNotFoundError(HydraError):
    """There is no such key in the tenant."""


class KeyStore(Protocol):
    """API keys of all tenants. Each change is in the audit log; every method may raise `StoreError`."""

    def add(self, key: ApiKey, text: str, actor: str) -> None:
        """Keeps a new key.

        Args:
            key: The key.
            text: Secret text of the key, which callers send and nobody keeps.
            actor: Name for the audit log of who made it.
        """

    def find(self, text: str) -> ApiKey | None:
        """Return the key that a caller shows, whether it still holds or not; None where there is none."""

    def keys(self, tenant: str | None) -> list[ApiKey]:
        """Return a tenant's keys, oldest first, with those that hold no longer; None is every tenant's."""

    def get(self, tenant: str | None, key_id: str) -> ApiKey:
        """Return a key by its id.

        Raises:
            KeyNotFoundError: The tenant has none of this id.
        """

    def rotate(self, tenant: str | None, key_id: str, actor: str, grace_s: float) -> tuple[ApiKey, str]:
        """Give a key another text, and return both.

        Args:
            tenant: Tenant of the key; None is any.
            key_id: Id of the key.
            actor: Name for the audit log of who does it.
            grace_s: For how many seconds the former text still holds.

        Raises:
            KeyNotFoundError: The tenant has none of this id.
            HydraError: It no longer holds.
        """

    def revoke(self, tenant: str | None, key_id: str, actor: str) -> ApiKey:
        """Revoke a key, for good, and return it; one that is revoked already stays as it is.

        Raises:
            KeyNotFoundError: The tenant has none of this id.
        """


class SqlKeyStore:
    """Table of a database as a `KeyStore`, which documents the methods.

    Args:
        database: Database with the tables of this version.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: ApiKey, text: str, actor: str) -> None:
        with self._database.writing() as db:
            db.execute(insert(API_KEYS).values(**_row(key), hash=hash_of(text)))
            about = {"user": key.user, "scopes": sorted(key.scopes), "expires": key.expires}
            add_entry(db, key.tenant, actor, "key.create", key.id, about)

    def find(self, text: str) -> ApiKey | None:
        c, hashed = API_KEYS.c, hash_of(text)
        query = select(API_KEYS).where(or_(c.hash == hashed, c.old_hash == hashed))
        rows = self._database.read(lambda db: db.execute(query).mappings().all())
        for row in rows:
            if same_hash(row["hash"], hashed) or (
                same_hash(row["old_hash"] or "", hashed) and time.time() < (row["old_until"] or 0)
            ):
                return _key(row)
        return None

    def keys(self, tenant: str | None) -> list[ApiKey]:
        c = API_KEYS.c
        query = select(API_KEYS).order_by(c.tenant, c.created, c.id)
        with self._database.reading() as db:
            return [
                _key(row) for row in db.execute(query if tenant is None else query.where(c.tenant == tenant)).mappings()
            ]

    def get(self, tenant: str | None, key_id: str) -> ApiKey:
        with self._database.reading() as db:
            return _found(db, tenant, key_id)[0]

    def rotate(self, tenant: str | None, key_id: str, actor: str, grace_s: float) -> tuple[ApiKey, str]:
        now, text = time.time(), new_text()
        with self._database.writing() as db:
            key, old_hash = _found(db, tenant, key_id)
            if not key.holds(now):
                raise HydraError(f"key {key.id} no longer holds: make another one")
            key = with_new_text(key, text, now)
            old = (
                {"old_hash": old_hash, "old_until": now + grace_s} if grace_s else {"old_hash": None, "old_until": None}
            )
            new = {"hash": hash_of(text), "prefix": key.prefix, "rotated": now}
            db.execute(update(API_KEYS).where(API_KEYS.c.id == key.id).values(**new, **old))
            add_entry(db, key.tenant, actor, "key.rotate", key.id, {"grace_s": grace_s})
        return key, text

    def revoke(self, tenant: str | None, key_id: str, actor: str) -> ApiKey:
        with self._database.writing() as db:
            key, _ = _found(db, tenant, key_id)
            if key.revoked is None:
                gone = {"revoked": time.time(), "old_hash": None, "old_until": None}
                db.execute(update(API_KEYS).where(API_KEYS.c.id == key.id).values(**gone))
                add_entry(db, key.tenant, actor, "key.revoke", key.id)
            return _found(db, tenant, key_id)[0]


def _found(db: Connection, tenant: str | None, key_id: str) -> tuple[ApiKey, str]:
    """Return a key with its hash."""
    query = select(API_KEYS).where(API_KEYS.c.id == key_id)
    row = db.execute(query if tenant is None else query.where(API_KEYS.c.tenant == tenant)).mappings().one_or_none()
    if row is None:
        raise KeyNotFoundError(f"key: there is no {key_id!r}; list the keys to see which there are")
    return _key(row), row["hash"]


_COLUMNS = ("id", "tenant", "user", "name", "prefix", "created", "expires", "rotated", "revoked")


def _row(key: ApiKey) -> dict[str, Any]:
    return {"scopes": " ".join(sorted(key.scopes)), **{name: getattr(key, name) for name in _COLUMNS}}


def _key(row: RowMapping) -> ApiKey:
    return ApiKey(scopes=frozenset(row["scopes"].split()), **{name: row[name] for name in _COLUMNS})
