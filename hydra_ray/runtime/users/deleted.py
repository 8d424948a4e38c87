"""What was deleted stays away: records are read without it, until it is undeleted by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra_ray.data.dataset import Dataset
from hydra_ray.records import HydraError, UserKey
from hydra_ray.runtime.users.id_files import listed_items
from hydra_ray.settings import Settings
from hydra_ray.store.backends import is_there, open_store
from hydra_ray.store.protocol import Store
from hydra_ray.store.types import WHOLE_USER, Tombstone
from hydra_ray.store.user_rows.together import Deleted, deleted_by_user

log = logging.getLogger(__name__)


def without_deleted(dataset: Dataset, settings: Settings) -> Dataset:
    """Return the data set without the users and items that were deleted from the store; the log says how many.

    This is the one place where records meet tombstones: what is left out here is not asked about, learnt from,
    profiled, shown to others or evaluated.

    Args:
        dataset: Users as the records have them.
        settings: Say where the store is; where there is none yet, nothing was deleted.

    Raises:
        HydraError: The store cannot be opened.
    """
    if not is_there(settings.store_target):
        return dataset
    store = open_store(settings.store_target)
    try:
        deleted = deleted_by_user(store.tombstones(settings.tenant))
    finally:
        store.close()
    return _without(dataset, deleted) if deleted else dataset


def keep_deleted(settings: Settings, other: Settings) -> None:
    """Has another store know of the same deletions, e.g. that of an experiment, and no others.

    Args:
        settings: Say where the store is whose deletions count.
        other: Say where the other store is; it is made where something was deleted. What was deleted goes there, too.
    """
    if settings.store_url == other.store_url or not (is_there(settings.store_target) or is_there(other.store_target)):
        return
    store = open_store(settings.store_target) if is_there(settings.store_target) else None
    wanted = [] if store is None else store.tombstones(settings.tenant)
    if store is not None:
        store.close()
    if not wanted and not is_there(other.store_target):
        return
    copy = open_store(other.store_target)
    had = {(one.key, one.item): one for one in copy.tombstones(settings.tenant)}
    for one in wanted:
        if (one.key, one.item) not in had:
            _delete(copy, one)
    copy.put_tombstones(wanted)
    for key, item in had.keys() - {(one.key, one.item) for one in wanted}:
        copy.undelete(key, item)
    copy.close()


def _delete(store: Store, one: Tombstone) -> None:
    if one.item == WHOLE_USER:
        store.delete(one.key)
        return
    item = store.history_item(one.key, one.item)
    if item is not None and Deleted(ids={one.item}, digests={one.digest}).holds(one.key, item):
        store.delete_item(one.key, one.item)


def _without(dataset: Dataset, deleted: Mapping[UserKey, Deleted]) -> Dataset:
    users, left_out, items = [], [], 0
    for user in dataset.users:
        gone = deleted.get(user.key)
        if gone is not None and gone.whole:
            left_out.append(user)
            continue
        kept = tuple(item for item in user.history if gone is None or not gone.holds(user.key, item))
        items += len(user.history) - len(kept)
        users.append(user if len(kept) == len(user.history) else replace(user, history=kept))
    if not left_out and not items:
        return dataset
    log.warning(
        "%d users and %d further history items of the records were deleted from the store and are left out; "
        "`hydra-ray fit --undelete` takes them back",
        len(left_out),
        items,
    )
    queries = {query.id for user in left_out for query in user.queries} - {
        query.id for user in users for query in user.queries
    }
    return replace(
        dataset,
        users=tuple(users),
        golds={query: gold for query, gold in dataset.golds.items() if query not in queries},
        rejected={query: text for query, text in dataset.rejected.items() if query not in queries},
        visible={query: seen for query, seen in dataset.visible.items() if query not in queries},
    )


@dataclass(frozen=True, slots=True)
class Undeleted:
    """Result of undeleting.

    Attributes:
        users: Number of users who may come back with the records.
        items: Number of items that may.
        unknown: What was named and was not deleted, as it stands in the file.
    """

    users: int
    items: int
    unknown: Sequence[str]


def undelete(settings: Settings, path: Path) -> Undeleted:
    """Removes the tombstones that a file names, so that records bring back what they hold of it.

    Args:
        settings: Say where the store is, and of which tenant the users are.
        path: One a line: a user's id, or a user's id and an item's id with a tab between them.

    Raises:
        HydraError: The file cannot be read, or names nobody; nothing is undeleted.
    """
    named = [(UserKey(settings.tenant, user), item) for user, item in listed_items(path, "--undelete")]
    if not named:
        raise HydraError(f"--undelete: {path} names nobody: write a user's id, or user, tab and item, on each line")
    found, unknown = list[str](), list[str]()
    store = open_store(settings.store_target)
    try:
        for key, item in named:
            if store.undelete(key, item):
                found.append(item)
            else:
                unknown.append(f"{key.user}\t{item}" if item else key.user)
    finally:
        store.close()
    users = found.count(WHOLE_USER)
    return Undeleted(users, len(found) - users, unknown)
