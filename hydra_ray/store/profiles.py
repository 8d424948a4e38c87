"""Profiles of users in tables, and the users whose texts each was made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, bindparam, delete, insert, select

from hydra_ray.records import UserKey
from hydra_ray.store.tables import HISTORY, PROFILE_PEERS, PROFILES, USER_PREFERENCES
from hydra_ray.store.types import ProfileFingerprint, UserProfile


def find(db: Connection, key: UserKey, kind: str) -> UserProfile | None:
    """One user's profile of one kind."""
    c, p = PROFILES.c, PROFILE_PEERS.c
    row = db.execute(select(PROFILES).where(c.tenant == key.tenant, c.user == key.user, c.kind == kind)).one_or_none()
    if row is None:
        return None
    mine = p.tenant == key.tenant, p.user == key.user, p.kind == kind
    peers = tuple(
        UserKey(key.tenant, peer) for peer in db.execute(select(p.peer).where(*mine).order_by(p.peer)).scalars()
    )
    return UserProfile(
        kind, row.text, ProfileFingerprint(row.how, row.what, row.seen), peers, row.degraded, row.dropped
    )


def fingerprints(db: Connection, kind: str) -> dict[UserKey, ProfileFingerprint]:
    """Return by user the fingerprint of their profile of one kind."""
    c = PROFILES.c
    query = select(c.tenant, c.user, c.how, c.what, c.seen).where(c.kind == kind)
    return {UserKey(tenant, user): ProfileFingerprint(*digests) for tenant, user, *digests in db.execute(query)}


def put(db: Connection, key: UserKey, profile: UserProfile) -> bool:
    """Replaces a profile; tells whether it could be kept.

    Writing takes seconds. Whoever was deleted meanwhile, the user or somebody whose texts were read, must not come
    back in it: a profile is only kept while all of them have history, and no peer has switched personalisation off.
    """
    # A write goes first, so that no deletion comes between the look at who is there and what follows from it.
    mine = [{"t": key.tenant, "u": key.user, "k": profile.kind}]
    _delete(db, mine)
    about = {**key._asdict(), "kind": profile.kind}
    users = {key.user, *(peer.user for peer in profile.peers)}
    there = select(HISTORY.c.user).distinct().where(HISTORY.c.tenant == key.tenant, HISTORY.c.user.in_(users))
    if set(db.execute(there).scalars()) != users:
        return False
    w = USER_PREFERENCES.c
    peers = {peer.user for peer in profile.peers}
    unwilling = select(w.user).where(w.tenant == key.tenant, w.user.in_(peers), w.personalisation.is_(False))
    if db.execute(unwilling.limit(1)).first() is not None:
        return False
    observed = {"text": profile.text, "degraded": profile.degraded, "dropped": profile.dropped}
    db.execute(insert(PROFILES), [{**about, **profile.fingerprint._asdict(), **observed}])
    if profile.peers:
        db.execute(insert(PROFILE_PEERS), [{**about, "peer": peer.user} for peer in profile.peers])
    return True


def forget_of_others(db: Connection, key: UserKey) -> None:
    """Removes the profiles of others that were made with a user's texts."""
    p = PROFILE_PEERS.c
    query = select(p.user, p.kind).where(p.tenant == key.tenant, p.peer == key.user, p.user != key.user)
    _delete(db, [{"t": key.tenant, "u": user, "k": kind} for user, kind in db.execute(query).all()])


def forget(db: Connection, key: UserKey) -> tuple[int, int]:
    """Removes a user's profiles, and everybody's that were made with this user's texts; gives the numbers of both."""
    c, p = PROFILES.c, PROFILE_PEERS.c
    own = select(c.user, c.kind).where(c.tenant == key.tenant, c.user == key.user)
    made_with = select(p.user, p.kind).where(p.tenant == key.tenant, p.peer == key.user)
    doomed = {tuple(row) for query in (own, made_with) for row in db.execute(query)}
    _delete(db, [{"t": key.tenant, "u": user, "k": kind} for user, kind in sorted(doomed)])
    mine = sum(user == key.user for user, _ in doomed)
    return mine, len(doomed) - mine


def _delete(db: Connection, about: Iterable[Mapping[str, str]]) -> None:
    if rows := list(about):
        for table in (PROFILES, PROFILE_PEERS):
            c = table.c
            mine = c.tenant == bindparam("t"), c.user == bindparam("u"), c.kind == bindparam("k")
            db.execute(delete(table).where(*mine), rows)
