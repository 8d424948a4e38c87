"""Who was deleted and did not come back: what was computed of them before is not written any more."""

from __future__ import annotations

from collections.abc import Iterable

from hydra_ray.records import UserKey
from hydra_ray.store.protocol import Store
from hydra_ray.store.types import WHOLE_USER


def who_is_gone(store: Store, keys: Iterable[UserKey]) -> set[UserKey]:
    """Return those of some users who have a tombstone, and neither history nor feedback events."""
    keys = set(keys)
    deleted = {
        one.key
        for tenant in {key.tenant for key in keys}
        for one in store.tombstones(tenant)
        if one.item == WHOLE_USER and one.key in keys
    }
    back = store.feedback_events(deleted)
    return {key for key in deleted if key not in back and store.history_version(key) is None}
