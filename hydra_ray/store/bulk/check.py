"""Finds what in a store does not fit together, and names it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from sqlalchemy import Connection, Select, and_, func, or_, select

from hydra_ray.models.heads import HEAD_KINDS, Head
from hydra_ray.models.heads.bases import Bases
from hydra_ray.models.heads.online import unpack
from hydra_ray.store.bulk.rows import all_tables, count, stream
from hydra_ray.store.bulk.whole import opened
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.tables import HEADS, HISTORY, HISTORY_VERSIONS, OBSERVATIONS, PROFILE_PEERS, PROFILES

# More of one kind are only counted.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        rows: Rows by table.
        problems: What does not fit together: by kind, each as a line that names user and item.
        notes: What is allowed, and yet worth knowing.
    """

    rows: dict[str, int]
    problems: dict[str, list[str]]
    notes: list[str]

    def lines(self) -> Iterator[str]:
        """Yield the report as lines of text, problems first."""
        for kind, found in self.problems.items():
            yield f"{kind}: {len(found)}"
            yield from (f"  {one}" for one in found[:_NAMED])
            if len(found) > _NAMED:
                yield f"  and {len(found) - _NAMED} more"
        yield from self.notes
        yield ", ".join(f"{number} {table}" for table, number in self.rows.items())


def check_store(target: StoreTarget) -> CheckReport:
    """Look at all of a store in the state of one moment.

    Args:
        target: Store.

    Raises:
        HydraError: It cannot be opened.
    """
    found = defaultdict[str, list[str]](list)
    with opened(target) as database, database.reading("checked") as db:
        for kind, query in _QUERIES.items():
            for row in db.execute(query()):
                found[kind].append(_named(*row))
        for kind, problem in _heads(db):
            found[kind].append(problem)
        rows = {table.name: count(db, table) for table in all_tables()}
        return CheckReport(rows, dict(found), list(_notes(db)))


def _named(tenant: str, user: str, *more: object) -> str:
    return " ".join([f"user {user!r} of tenant {tenant!r}", *(f"{one}" for one in more if one is not None)])


def _without_version() -> Select:
    h, v = HISTORY.c, HISTORY_VERSIONS.c
    same = and_(h.tenant == v.tenant, h.user == v.user)
    query = select(h.tenant, h.user).join(HISTORY_VERSIONS, same, isouter=True).where(v.user.is_(None))
    return query.distinct()


def _same_places() -> Select:
    h = HISTORY.c
    query = select(h.tenant, h.user, h.place).group_by(h.tenant, h.user, h.place).having(func.count() > 1)
    return _ordered(query, h.tenant, h.user, h.place)


def _low_next_places() -> Select:
    h, v = HISTORY.c, HISTORY_VERSIONS.c
    last = select(h.tenant, h.user, func.max(h.place).label("place")).group_by(h.tenant, h.user).subquery()
    same = and_(v.tenant == last.c.tenant, v.user == last.c.user)
    query = select(v.tenant, v.user, v.next_place, last.c.place).join(last, same)
    return query.where(v.next_place <= last.c.place)


def _profiles_without_history() -> Select:
    p = PROFILES.c
    return _ordered(select(p.tenant, p.user, p.kind).where(~_has_history(p.tenant, p.user)), p.tenant, p.user)


def _peers_without_history() -> Select:
    p = PROFILE_PEERS.c
    query = select(p.tenant, p.user, p.kind, p.peer).where(~_has_history(p.tenant, p.peer))
    return _ordered(query, p.tenant, p.user, p.peer)


def _peers_without_profile() -> Select:
    p, q = PROFILE_PEERS.c, PROFILES.c
    same = and_(p.tenant == q.tenant, p.user == q.user, p.kind == q.kind)
    return select(p.tenant, p.user, p.kind).join(PROFILES, same, isouter=True).where(q.user.is_(None)).distinct()


def _observations_without_head() -> Select:
    o, h = OBSERVATIONS.c, HEADS.c
    same = and_(o.tenant == h.tenant, o.user == h.user, o.version == h.version, o.role == h.role)
    query = select(o.tenant, o.user, o.role, o.version).join(HEADS, same, isouter=True)
    return query.where(or_(h.user.is_(None), h.head.is_(None))).distinct()


_QUERIES = {
    "histories without a version": _without_version,
    "two items at one place (user, place)": _same_places,
    "next place is not above the last item's (user, next place, last place)": _low_next_places,
    "profiles of users without history (user, kind)": _profiles_without_history,
    "profiles made with users without history (user, kind, peer)": _peers_without_history,
    "peers of profiles that are not there (user, kind)": _peers_without_profile,
    "observations without a head (user, role, base)": _observations_without_head,
}


def _heads(db: Connection) -> Iterator[tuple[str, str]]:
    o = OBSERVATIONS.c
    for row in stream(db, HEADS, HEADS.c.head.is_not(None)):
        where = _named(row["tenant"], row["user"], row["role"], row["version"])
        try:
            head = Head.from_bytes(row["head"])
            is_whole = all(bool(torch.isfinite(tensor).all()) for tensor in head.tensors.values())
        except Exception as error:  # Whatever the bytes are taken for.
            yield "damaged heads (user, role, base)", f"{where}: {error}"
            continue
        if head.kind not in HEAD_KINDS:
            yield "heads of a kind that is not known (user, role, base)", f"{where}: {head.kind!r}"
        elif not is_whole:
            yield "damaged heads (user, role, base)", f"{where}: holds numbers that are none"
        elif head.kind == Bases.name:
            mine = (
                o.tenant == row["tenant"],
                o.user == row["user"],
                o.version == row["version"],
                o.role == row["role"],
            )
            kept = dict(db.execute(select(o.item, o.told).where(*mine)).all())
            if not kept:
                yield "heads of kind bases without observations (user, role, base)", where
            for item, blob in kept.items():
                try:
                    unpack([blob], len(head.tensors["mean"]))
                except (ValueError, KeyError) as error:
                    yield "damaged observations (user, role, base, item)", f"{where} {item!r}: {error}"


def _notes(db: Connection) -> Iterator[str]:
    o, h = OBSERVATIONS.c, HISTORY.c
    same = and_(o.tenant == h.tenant, o.user == h.user, o.item == h.id)
    alone = select(func.count()).select_from(OBSERVATIONS).join(HISTORY, same, isouter=True).where(h.id.is_(None))
    if number := db.execute(alone).scalar():
        yield f"{number} observations are of items in no history: rejections, and queries that were fitted from"


def _has_history(tenant: object, user: object):  # type: ignore[no-untyped-def]
    return select(HISTORY.c.id).where(HISTORY.c.tenant == tenant, HISTORY.c.user == user).exists()


def _ordered(query: Select, *columns: object) -> Select:
    return query.order_by(*columns)  # type: ignore[arg-type]
