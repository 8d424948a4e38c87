"""What is known of one user, in short: counts, heads and their age, profiles, and what teaches most."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np

from hydra_ray.dates import earliest, latest
from hydra_ray.models.base import ADAPTER
from hydra_ray.models.heads.bases import Bases
from hydra_ray.models.heads.online import unpack
from hydra_ray.records import UserKey
from hydra_ray.store.protocol import Store

_MOST = 5


def about_user(store: Store, key: UserKey, serving: str | None) -> dict[str, Any]:
    """Return what a user may want to know at a glance, as plain JSON values.

    Args:
        store: Store of users.
        key: The user.
        serving: Version of the base that serves; None where there is none.
    """
    records, now = store.records, time.time()
    counts, heads = records.counts(key), []
    for entry in records.head_entries(key):
        head = store.head(key, entry.version, entry.role)
        if head is None:
            continue
        age = None if entry.written_at is None else max(0, round(now - entry.written_at))
        shown = {"kind": head.kind, "bytes": head.nbytes, "age_s": age, "serves": entry.version == serving}
        heads.append({**entry._asdict(), **shown})
    history = store.history(key)
    dates = [item.ts for item in history]
    return {
        "id": key.user,
        "object": "user",
        "personalisation": records.is_personalised(key),
        "counts": counts,
        "history": {"items": len(history), "earliest": earliest(dates), "latest": latest(dates)},
        "heads": heads,
        "profiles": [
            {"kind": row["kind"], "text": row["text"], "degraded": row["degraded"]}
            for row in records.rows(key)["profiles"]
        ],
        "teaches_most": None if serving is None else teaches_most(store, key, serving),
    }


def teaches_most(store: Store, key: UserKey, version: str) -> list[dict[str, Any]] | None:
    """Return the history items from which the adapter's head of kind `bases` knows most, with their shares.

    A posterior depends on each item's observations through the spread of the basis values among the texts that
    competed: texts that all look alike to the bases cannot tell what the user prefers. An item's weight is that spread,
    the sum over its texts of the squared distance to their mean; shares are of all that is known. Observations whose
    item is no longer in the history (a rejection) count, and are shown by their id alone.

    Returns:
        At most 5 items, most first; None for heads of other kinds, whose parameters do not tell.
    """
    head = store.head(key, version, ADAPTER)
    if head is None or head.kind != Bases.name:
        return None
    bases = len(head.tensors["mean"])
    weights = dict[str, float]()
    for item_id, kept in store.observations([key], version, ADAPTER).get(key, {}).items():
        observed, _ = unpack([kept], bases)
        phi = observed[:, :-2].double().numpy()
        weights[item_id] = float(np.square(phi - phi.mean(0)).sum())
    total = sum(weights.values())
    if not total:
        return []
    items = {item.id: item for item in store.history(key)}
    most = sorted(weights, key=lambda item_id: (-weights[item_id], item_id))[:_MOST]
    return [
        {
            **({"id": item_id} if item_id not in items else asdict(items[item_id])),
            "share": round(weights[item_id] / total, 4),
        }
        for item_id in most
    ]
