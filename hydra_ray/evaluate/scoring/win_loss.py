"""Gains and losses of single users: an average gain may be many users' loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hydra_ray.evaluate.results import UserGain, WinLoss
from hydra_ray.evaluate.scoring.align import METHOD
from hydra_ray.evaluate.scoring.metrics import Array
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard

ZERO_SHOT = "zero-shot"
# Differences of a user's metric that are nothing but rounding.
_SAME = 1e-9


def fates_of(scoreboard: Scoreboard) -> dict[str, WinLoss]:
    """Return by method the shares of users better, equally and worse off than with zero-shot; empty without zero-shot.

    Each user's main metric is taken over all their queries and training seeds.
    """
    if ZERO_SHOT not in scoreboard.values:
        return {}
    before = _scores(scoreboard, ZERO_SHOT)
    fates = {}
    for method in scoreboard.values:
        gains = _scores(scoreboard, method) - before
        sides = (gains > _SAME, np.abs(gains) <= _SAME, gains < -_SAME)
        fates[method] = WinLoss(*(float(np.mean(side)) for side in sides))
    del fates[ZERO_SHOT]
    return fates


def gains_of(scoreboard: Scoreboard, baselines: Sequence[str]) -> tuple[UserGain, ...]:
    """Return each user's gain by hydra over the prompt-based method that is best for everybody, smallest first.

    Args:
        scoreboard: Scoreboard of the task.
        baselines: Names of the prompt-based methods that ran; without any, or without hydra, nobody has a gain.
    """
    if METHOD not in scoreboard.values or not baselines:
        return ()
    gains = _scores(scoreboard, METHOD) - _scores(scoreboard, scoreboard.best(baselines))
    asked_by = dict.fromkeys(scoreboard.aligned.users)
    queries: dict = {user: set() for user in asked_by}
    history = dict.fromkeys(asked_by, 0)
    for asked in scoreboard.aligned.asked:
        user = asked.query.user
        queries[user].add(asked.query.id)
        history[user] = max(history[user], asked.history_items)
    found = [
        UserGain(user.user, float(own), len(queries[user]), history[user])
        for user, own in zip(asked_by, gains, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (one.gain, one.user)))


def _scores(scoreboard: Scoreboard, method: str) -> Array:
    """Return each user's main metric, sign turned for errors, in the order of first occurrence; shape (users,)."""
    return scoreboard.score(scoreboard.bootstrap.by_user(scoreboard.statistics[method]))
