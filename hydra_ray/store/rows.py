"""Conditions that pick rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, Table, and_, or_, select

from hydra_ray.records import UserKey

# SQLite nests at most 1,000 expressions in each other, and each tenant is one.
KEYS_AT_ONCE = 900


def of(table: Table, key: UserKey) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Pick the rows of one user."""
    return table.c.tenant == key.tenant, table.c.user == key.user


def among(table: Table, keys: Sequence[UserKey]) -> ColumnElement[bool]:
    """Pick the rows of some users by the index: SQLite reads a whole table for pairs of (tenant, user)."""
    by_tenant: dict[str, list[str]] = {}
    for tenant, user in keys:
        by_tenant.setdefault(tenant, []).append(user)
    return or_(*(and_(table.c.tenant == tenant, table.c.user.in_(users)) for tenant, users in by_tenant.items()))


def of_base(table: Table, version: str, role: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Pick the rows of one role of one version of the base."""
    return table.c.version == version, table.c.role == role


def users_in(db: Connection, table: Table, tenant: str, after: str | None, most: int) -> list[str]:
    """Return ids of users of a tenant who have rows in a table, in the database's order, a page at a time."""
    c = table.c
    query = select(c.user).where(c.tenant == tenant).distinct().order_by(c.user).limit(most)
    return list(db.execute(query if after is None else query.where(c.user > after)).scalars())


def chunks(keys: Iterable[UserKey]) -> Iterator[list[UserKey]]:
    """Yield the keys in lists of as many users as one statement takes."""
    keys = list(keys)
    for start in range(0, len(keys), KEYS_AT_ONCE):
        yield keys[start : start + KEYS_AT_ONCE]
