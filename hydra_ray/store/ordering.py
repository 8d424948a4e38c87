"""The order of a stored history."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from hydra_ray.dates import in_order, is_date
from hydra_ray.records import HistoryItem, UserKey

log = logging.getLogger(__name__)


def by_time(key: UserKey, added: Sequence[HistoryItem]) -> list[HistoryItem]:
    """A user's items, oldest first: what was added later may have happened earlier.

    Items without a date keep the places in which they were added. Stores of version 0.1.0 took any text as a date: what
    cannot be read counts as unknown, and is logged.
    """
    odd = [item.ts for item in added if item.ts is not None and not is_date(item.ts)]
    if odd:
        log.warning("history of %s: %d dates cannot be read and count as unknown, e.g. %r", key, len(odd), odd[0])
        added = [replace(item, ts=None) if item.ts in odd else item for item in added]
    return in_order(added, lambda item: item.ts)
