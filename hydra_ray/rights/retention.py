"""Retention by age: what users did longer ago than settings say is forgotten, and heads that knew of it with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from hydra_ray.dates import is_date, span
from hydra_ray.models.heads.bases import Bases
from hydra_ray.models.heads.online import head_of
from hydra_ray.records import HydraError, UserKey
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.protocol import Store
from hydra_ray.store.rights.protocol import StoredItem
from hydra_ray.store.schema import open_database

_DAY_S, _NS = 86_400, 1_000_000_000


@dataclass(slots=True)
class RetentionReport:
    """Report of a look for what is too old.

    Attributes:
        days: Age in days from which on things are forgotten.
        changed: Number of users of whom something was forgotten.
        forgotten: Number of items and feedback events that were forgotten.
        refitted: Number of heads that were computed anew from what is left, or have nothing left.
        removed: Number of heads that were removed: they do not tell what they were fitted from.
        undated: Number of items that are kept since nobody knows how old they are.
        completions: Number of completions that were forgotten, whoever asked.
    """

    days: int
    changed: int = 0
    forgotten: int = 0
    refitted: int = 0
    removed: int = 0
    undated: int = 0
    completions: int = 0

    def __str__(self) -> str:
        heads = f"{self.refitted} heads fitted anew, {self.removed} removed until the next fit"
        undated = f" {self.undated} item(s) without a known age were kept." if self.undated else ""
        return (
            f"{self.forgotten} item(s) of {self.changed} users and {self.completions} completion(s) older than "
            f"{self.days} days forgotten; {heads}.{undated}"
        )


def expire(settings: Settings, now: float | None = None) -> RetentionReport:
    """Forgets, of all tenants of the store, what is older than `store.retention_days`.

    Args:
        settings: Say where the store is, how long things are kept, and the loss of heads.
        now: Seconds since 1970; None is the clock's.

    Raises:
        HydraError: Settings name no age.
        StoreError: The store does not answer; the same call goes on.
    """
    days = settings.store.retention_days
    if days is None:
        raise HydraError("store.retention_days: no age is set from which on things are forgotten")
    before = (time.time() if now is None else now) - days * _DAY_S
    report, store = RetentionReport(days), open_store(settings.store_target)
    try:
        doomed = dict[UserKey, list[str]]()
        for one in store.records.stored_items():
            known, is_old = _age(one, before)
            report.undated += not known
            if is_old:
                doomed.setdefault(one.key, []).append(one.item_id)
        for key, items in doomed.items():
            _forget(store, key, list(dict.fromkeys(items)), settings.base.loss, report)
        with closing(open_database(settings.store_target)) as database:
            report.completions = CompletionLog(database).expire(before)
        if doomed or report.completions:
            store.records.compact()
    finally:
        store.close()
    return report


def _age(one: StoredItem, before: float) -> tuple[bool, bool]:
    """Return whether the age of something is known, and whether it is too old: all of the time that its date names."""
    if one.ts is not None and is_date(one.ts):
        return True, span(one.ts).end <= before * _NS
    return one.stored_at is not None, one.stored_at is not None and one.stored_at < before


def _forget(store: Store, key: UserKey, items: Sequence[str], loss: str, report: RetentionReport) -> None:
    # Items go last: who is interrupted and begins again finishes the work.
    touched = sorted({of for item_id in items for of in store.observed_by(key, item_id)})
    for version, role in touched:
        with store.updating_observations(key, version, role) as update:
            for item_id in items:
                update.remove(item_id)
            old = update.head()
            if old is not None and old.kind == Bases.name:
                update.put_head(head_of(update.all(), len(old.tensors["mean"]), loss, old.about))
                report.refitted += 1
    for entry in store.records.head_entries(key):
        with store.updating_observations(key, entry.version, entry.role) as update:
            old = update.head()
            if old is not None and old.kind != Bases.name:
                # It was fitted from all that was known; without a row the next fit begins anew.
                update.put_head(None)
                report.removed += 1
    for item_id in items:
        store.delete_item(key, item_id)
    report.changed += 1
    report.forgotten += len(items)
