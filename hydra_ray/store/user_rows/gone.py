"""Who was deleted: what was computed of them before is not written any more."""

from __future__ import annotations

from collections.abc import Iterable

from hydra_ray.records import UserKey
from hydra_ray.store.protocol import Store
from hydra_ray.store.types import WHOLE_USER, Tombstone


def tombstones_of_users(store: Store, keys: Iterable[UserKey]) -> set[Tombstone]:
    """Return the tombstones of some users as a whole. One that was not there before is of a deletion since."""
    keys = set(keys)
    stones = (one for tenant in sorted({key.tenant for key in keys}) for one in store.tombstones(tenant))
    return {one for one in stones if one.item == WHOLE_USER and one.key in keys}


def who_is_gone(store: Store, keys: Iterable[UserKey]) -> set[UserKey]:
    """Return those of some users who have a tombstone, and neither history nor feedback events."""
    deleted = {one.key for one in tombstones_of_users(store, keys)}
    back = store.feedback_events(deleted)
    return {key for key in deleted if key not in back and store.history_version(key) is None}
