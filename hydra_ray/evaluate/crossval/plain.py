"""The best plain method, chosen for each user on others, and whom a recipe makes worse than it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hydra_ray.evaluate.crossval.result import UsersChanged
from hydra_ray.evaluate.scoring.headline import chosen_on_others
from hydra_ray.evaluate.scoring.made_worse import share_made_worse
from hydra_ray.evaluate.scoring.metrics import Array
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard

# Differences of a user's metric that are nothing but rounding.
_SAME = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class BestPlain:
    """What each user gets from the plain method that is best on other users.

    Attributes:
        outputs: Answer to each item.
        statistics: Statistics of each item, shape (items, width).
        by_user: Their sums by user, shape (users, width).
        values: The main metric on the data and on each resample, shape (1 + resamples,).
        chosen: Number of folds of users that chose each plain method.
    """

    outputs: Sequence[str]
    statistics: Array
    by_user: Array
    values: Array
    chosen: Mapping[str, int]


def best_plain_of(board: Scoreboard, plain: Sequence[str], folds: int, seed: int) -> BestPlain:
    """Return what the best plain method answers.

    Args:
        board: Scores of all methods.
        plain: Names of the plain methods; ties go to the first.
        folds: Number of folds of users; fewer where there are fewer users.
        seed: Seed that users are split into folds with.
    """
    answering, chosen = chosen_on_others(board, plain, folds, seed)
    of_item = [answering[user] for user in _users(board)]
    statistics = np.array([board.statistics[method][item] for item, method in enumerate(of_item)])
    by_user = board.bootstrap.by_user(statistics)
    outputs = [board.outputs[method][item] for item, method in enumerate(of_item)]
    return BestPlain(outputs, statistics, by_user, board.main.value(board.bootstrap.resampled(by_user)), dict(chosen))


def users_changed(board: Scoreboard, method: str, best: BestPlain, repeats: int) -> UsersChanged:
    """Return which share of the users a method makes better or worse than the best plain method.

    Args:
        board: Scores of all methods.
        method: Name of the method.
        best: The best plain method.
        repeats: Number of repeats, each of which has all queries; a query's gain is their mean.
    """
    by_user = board.score(board.bootstrap.by_user(board.statistics[method])) - board.score(best.by_user)
    gains = board.score(board.statistics[method]) - board.score(best.statistics)
    differs = np.array([own != other for own, other in zip(board.outputs[method], best.outputs, strict=True)])
    by_query = gains.reshape(repeats, -1).mean(axis=0)
    matters = differs.reshape(repeats, -1).any(axis=0)
    users = np.array(_users(board)[: len(by_query)])
    return UsersChanged(
        worse=float(np.mean(by_user < -_SAME)),
        better=float(np.mean(by_user > _SAME)),
        worse_beyond_chance=share_made_worse(np.where(matters, by_query, np.nan), users),
    )


def _users(board: Scoreboard) -> list[int]:
    """Number of each item's user, in the order in which users first occur."""
    places = {user: place for place, user in enumerate(dict.fromkeys(board.aligned.users))}
    return [places[user] for user in board.aligned.users]
