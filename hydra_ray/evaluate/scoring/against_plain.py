"""What methods with a base do to users, against the best plain method at equal calls: whom they make worse.

Plain are the prompt-based methods whose requests cost no more LLM calls. Which of them is best is found on other users,
as the headline finds it. Shares of users are told three ways: by the sign of what was measured, which noise makes for
half of the users whom nothing happens to; as expected by an empirical-Bayes estimate; and of whom it is sure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hydra_ray.bootstrap import interval, relative_improvement
from hydra_ray.evaluate.never_worse import AgainstPlain, AgainstPlainOverTasks
from hydra_ray.evaluate.scoring.empirical_bayes import chances_of_loss
from hydra_ray.evaluate.scoring.headline import best_by_user
from hydra_ray.evaluate.scoring.metrics import Array
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard
from hydra_ray.methods import needs_base

# Requests that cost so much more still count as equal calls: now and then an LLM is asked again.
_EQUAL = 1.1
# Probability of a loss from which on it is sure: the rate of false signs among such users is below a twentieth
# (Stephens, 2017, section 2).
_SURE = 0.95
# Differences of a user's metric that are nothing but rounding.
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class PlainRows:
    """One method beside the best plain method on one task, on the data and on each resample.

    Attributes:
        task: Name of the task.
        method: Name of the method.
        chosen: Number of folds that chose each plain method.
        gain: Gain on the main metric, shape (1 + resamples,).
        relative: Gain as a share of the plain method's value, shape (1 + resamples,); None where that is 0.
        worse: Share of users whose metric is worse, shape (1 + resamples,).
        expected_worse: Share of users who can be expected to lose, shape (1 + resamples,).
        surely_worse: Share of users who surely lose, shape (1 + resamples,).
        users: Number of users.
        items: Number of items.
    """

    task: str
    method: str
    chosen: Mapping[str, int]
    gain: Array
    relative: Array | None
    worse: Array
    expected_worse: Array
    surely_worse: Array
    users: int
    items: int

    def summary(self) -> AgainstPlain:
        """Return the same with intervals."""
        relative = None if self.relative is None else interval(self.relative, self.items)
        shares = (interval(share, self.users) for share in (self.worse, self.expected_worse, self.surely_worse))
        # Not a counter: `asdict` makes one of pairs out of it.
        return AgainstPlain(dict(self.chosen), interval(self.gain, self.items), relative, *shares)


def against_plain(
    scoreboard: Scoreboard, plain: Sequence[str], calls: Mapping[str, float], folds: int, seed: int
) -> list[PlainRows]:
    """Compare each method that has a base with the best plain method at equal calls.

    Args:
        scoreboard: Scoreboard of the task.
        plain: Names of the prompt-based methods that ran; ties go to the first.
        calls: Mean LLM calls of a request, by method.
        folds: Number of folds of users by which the best one is chosen.
        seed: Seed that users are split into folds with.

    Returns:
        A part for each method with a base and a plain method at equal calls, in the scoreboard's order.
    """
    found = []
    for method in scoreboard.competitors:
        equal = [name for name in plain if calls[name] <= _EQUAL * calls[method]]
        if needs_base(method) and equal:
            found.append(compared_with_plain(scoreboard, method, equal, folds, seed))
    return found


def over_tasks(rows: Sequence[PlainRows]) -> dict[str, AgainstPlainOverTasks]:
    """Return each method's parts of all tasks together: gains as means over tasks, shares as those of all users."""
    found = {}
    for method in dict.fromkeys(one.method for one in rows):
        own = [one for one in rows if one.method == method]
        users, items = sum(one.users for one in own), sum(one.items for one in own)
        relatives = [one.relative for one in own if one.relative is not None]
        known = [one for one in own if one.relative is not None]
        worst = min(known or own, key=_gain)
        # Infinities of opposite signs have no mean: such a resample is left out of the interval.
        with np.errstate(invalid="ignore"):
            relative = interval(np.mean(relatives, axis=0), items) if relatives else None
        # All tasks' users weigh alike.
        worse, expected, surely = (
            interval(np.average(shares, axis=0, weights=[one.users for one in own]), users)
            for shares in (
                [one.worse for one in own],
                [one.expected_worse for one in own],
                [one.surely_worse for one in own],
            )
        )
        found[method] = AgainstPlainOverTasks(relative, worse, expected, surely, worst.task, worst.summary().relative)
    return found


def _gain(one: PlainRows) -> float:
    return float((one.gain if one.relative is None else one.relative)[0])


def compared_with_plain(scoreboard: Scoreboard, method: str, plain: Sequence[str], folds: int, seed: int) -> PlainRows:
    """Compare one method with the plain method that is best on other users.

    Args:
        scoreboard: Scoreboard of the task.
        method: Name of the method.
        plain: Names of the plain methods that are chosen among; ties go to the first.
        folds: Number of folds of users by which the best one is chosen.
        seed: Seed that users are split into folds with.
    """
    best = best_by_user(scoreboard, plain, folds, seed)
    bootstrap, own = scoreboard.bootstrap, scoreboard.statistics[method]
    place = {user: number for number, user in enumerate(dict.fromkeys(scoreboard.aligned.users))}
    names = [best.names[place[user]] for user in scoreboard.aligned.users]
    other = np.array([scoreboard.statistics[name][item] for item, name in enumerate(names)])
    values = scoreboard.main.value(bootstrap.sums(other))
    gain = scoreboard.score(bootstrap.sums(own)) - scoreboard.score(bootstrap.sums(other))
    relative = None
    if values[0] != 0:
        relative = relative_improvement(scoreboard.mains(method), values, scoreboard.main.higher_is_better)
    differs = np.array(
        [scoreboard.outputs[method][item] != scoreboard.outputs[name][item] for item, name in enumerate(names)]
    )
    chances = _chances(scoreboard, scoreboard.score(own) - scoreboard.score(other), differs)
    gains = scoreboard.score(bootstrap.by_user(own)) - scoreboard.score(bootstrap.by_user(other))

    def share(of_users: npt.NDArray[Any]) -> Array:
        shares: Array = bootstrap.resampled(of_users.astype(float)[:, None])[:, 0] / bootstrap.users
        return shares

    return PlainRows(
        scoreboard.aligned.task.name,
        method,
        best.chosen,
        gain,
        relative,
        share(gains < -_SAME),
        share(chances),
        share(chances >= _SURE),
        bootstrap.users,
        len(names),
    )


def _chances(scoreboard: Scoreboard, gains: Array, differs: npt.NDArray[np.bool_]) -> Array:
    """Return the probability that each user loses; 0 for whom both methods said the same, which is no loss.

    Args:
        scoreboard: Scoreboard of the task.
        gains: Gain at each item, shape (items,).
        differs: Whether both methods' outputs differ, shape (items,).
    """
    by_query: dict = defaultdict(lambda: defaultdict(list))
    touched: dict = defaultdict(bool)
    for asked, gain, differs_here in zip(scoreboard.aligned.asked, gains, differs, strict=True):
        # Seeds of training do not make a query two: its gain is their mean.
        by_query[asked.query.user][asked.query.id].append(gain)
        touched[asked.query.user] |= bool(differs_here)
    of_users = [np.array([np.mean(own) for own in queries.values()]) for queries in by_query.values()]
    reached = np.array(list(touched.values()))
    chances = np.zeros(len(of_users))
    chances[reached] = chances_of_loss([own for own, here in zip(of_users, reached, strict=True) if here])
    return chances
