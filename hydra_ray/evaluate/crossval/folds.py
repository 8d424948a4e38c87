"""Splits users into folds: each is held out once, and who trains is never who is answered."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hydra_ray.records import HydraError, UserKey
from hydra_ray.steps.seeds import stable_seed


def folds_of(users: Iterable[UserKey], folds: int, repeat: int, seed: int) -> list[frozenset[UserKey]]:
    """Return disjoint folds of users, of sizes that differ by one at most.

    Args:
        users: Users, in any order.
        folds: Number of folds.
        repeat: Number of the repeat, from 0; each splits users anew.
        seed: Seed of all repeats.

    Raises:
        HydraError: There are fewer users than folds.
    """
    order = sorted(set(users))
    if len(order) < folds:
        raise HydraError(f"evaluate.folds: {folds} folds of {len(order)} users: each has to hold out somebody")
    shuffled = np.random.default_rng(stable_seed(seed, repeat)).permutation(len(order))
    return [frozenset(order[place] for place in part) for part in np.array_split(shuffled, folds)]
