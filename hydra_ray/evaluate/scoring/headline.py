"""The headline: one number for how much better hydra is than prompting, and one for how well it chooses.

For one task, with m(x) the main metric of x over all users and training seeds:

- relative improvement: (m(hydra) - m(prompted)) / m(prompted), the sign turned for errors. `prompted` answers each user
  by the prompt-based method that is best on *other* users: users are split into folds at random, and in each fold the
  method answers that is best on the users of the other folds. The best of many methods on the very users that it is
  compared on would be flattered; a baseline picked beforehand would flatter hydra.
- share of the oracle gap: (m(hydra) - m(majority vote)) / (m(best candidate) - m(majority vote)), the
  latter two of the LLM's candidates for hydra: 0 is no better than counting votes, 1 is as good as an oracle. It is
  more than 1 where hydra gains by allowed answers that the LLM did not say (`method.allowed_answers`).

Both are averaged over tasks. Intervals are percentile bootstrap over users within each task; what a fold has chosen
stays as it is in all resamples, so the uncertainty of that choice is not in them. Tasks are resampled independently,
and the mean over tasks is taken resample by resample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hydra_ray.bootstrap import interval, relative_improvement
from hydra_ray.evaluate.results import Headline, TaskHeadline
from hydra_ray.evaluate.scoring.align import METHOD
from hydra_ray.evaluate.scoring.metrics import Array
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard
from hydra_ray.methods import METHODS, needs_base

# What an LLM reaches by its prompt alone, also where it is asked several times and its answers are counted.
PROMPT_BASED = tuple(name for name in METHODS if not needs_base(name))

_CONTROLS = ("majority-vote", "best-candidate")


@dataclass(frozen=True, slots=True)
class HeadlineRows:
    """A task's part of the headline, on the data and on each resample.

    Attributes:
        relative: Relative improvement, shape (1 + resamples,); infinite where the baseline is at 0.
        chosen: Number of folds that chose each prompt-based method.
        oracle_gap: Share of the oracle gap, shape (1 + resamples,), NaN in resamples without a gap; None where the data
            has no gap.
        items: Number of items of the task.
    """

    relative: Array
    chosen: Mapping[str, int]
    oracle_gap: Array | None
    items: int

    def summary(self) -> TaskHeadline:
        """Return the task's part of the headline with intervals."""
        gap = None if self.oracle_gap is None else interval(self.oracle_gap, self.items)
        return TaskHeadline(interval(self.relative, self.items), self.chosen, gap)


def task_headline(scoreboard: Scoreboard, baselines: Sequence[str], folds: int, seed: int) -> HeadlineRows | None:
    """Return one task's part of the headline, on the data and on each resample.

    Args:
        scoreboard: Scoreboard of the task.
        baselines: Names of the prompt-based methods that ran; ties go to the first.
        folds: Number of folds of users; fewer where there are fewer users.
        seed: Seed that users are split into folds with.

    Returns:
        The part; None without hydra or baselines, and where prompting reaches 0, of which there are no shares.
    """
    if METHOD not in scoreboard.values or not baselines:
        return None
    by_user, chosen = best_on_others(scoreboard, baselines, folds, seed)
    return headline_of(scoreboard, METHOD, _CONTROLS, by_user, chosen)


def headline_of(
    scoreboard: Scoreboard, method: str, controls: tuple[str, str], prompted: Array, chosen: Mapping[str, int]
) -> HeadlineRows | None:
    """Return a method's part of the headline; None where prompting reaches 0, of which there are no shares.

    Args:
        scoreboard: Scoreboard of the task.
        method: Name of the method.
        controls: Names of its majority vote and of its best candidates; the oracle's gap needs both.
        prompted: Each user's statistics under the prompt-based method that others chose, from `best_on_others`.
        chosen: Number of folds that chose each prompt-based method.
    """
    values = scoreboard.main.value(scoreboard.bootstrap.resampled(prompted))
    if values[0] == 0:
        return None
    return HeadlineRows(
        relative_improvement(scoreboard.mains(method), values, scoreboard.main.higher_is_better),
        dict(chosen),
        _oracle_gap(scoreboard, method, controls),
        len(scoreboard.aligned.asked),
    )


def over_tasks(rows: Sequence[HeadlineRows]) -> Headline | None:
    """Return the mean over tasks of equal weight, resample by resample; None without any."""
    if not rows:
        return None
    items = sum(one.items for one in rows)
    # Infinities of opposite signs have no mean: such a resample is left out of the interval.
    with np.errstate(invalid="ignore"):
        relative = np.mean([one.relative for one in rows], axis=0)
    gaps = [one.oracle_gap for one in rows if one.oracle_gap is not None]
    if not gaps:
        return Headline(interval(relative, items), None)
    # Every task with a gap weighs the same in a resample in which all of them have one; others are left out.
    return Headline(interval(relative, items), interval(np.mean(gaps, axis=0), items))


def closed_gap(hydra: Array, majority: Array, best: Array) -> Array:
    """Return the share of the way from majority vote to the oracle.

    Args:
        hydra: Values of a metric for hydra, where higher or lower may be better, any shape.
        majority: Values for majority vote, the same shape.
        best: Values for the best candidate, the same shape.

    Returns:
        Shares, the same shape: 0 for no better than majority vote, 1 for as good as the oracle, NaN without a gap.
    """
    gap = np.asarray(best, float) - majority
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gap == 0, np.nan, (hydra - majority) / gap)


@dataclass(frozen=True, slots=True)
class BestOnOthers:
    """Method that is best on other users, for each user.

    Attributes:
        names: Name of the method that answers each user, in the order of the bootstrap's users.
        chosen: Number of folds of users that chose each method.
    """

    names: tuple[str, ...]
    chosen: Counter[str]


def best_by_user(scoreboard: Scoreboard, baselines: Sequence[str], folds: int, seed: int) -> BestOnOthers:
    """Choose for each user the method that is best on the users of other folds.

    Args:
        scoreboard: Scoreboard of the task.
        baselines: Names of the methods that are chosen among; ties go to the first.
        folds: Number of folds of users; fewer where there are fewer users.
        seed: Seed that users are split into folds with.
    """
    by_user = {method: scoreboard.bootstrap.by_user(scoreboard.statistics[method]) for method in baselines}
    users = scoreboard.bootstrap.users
    shuffled = np.random.default_rng(seed).permutation(users)
    names = [""] * users
    chosen: Counter[str] = Counter()
    for fold in np.array_split(shuffled, min(folds, users)):
        # A user alone has no others: what is best for them answers, which flatters prompting and not hydra.
        others = np.setdiff1d(shuffled, fold) if len(fold) < users else fold
        best = max(baselines, key=lambda method: scoreboard.score(by_user[method][others].sum(axis=0)))
        for user in fold:
            names[user] = best
        chosen[best] += 1
    return BestOnOthers(tuple(names), chosen)


def best_on_others(
    scoreboard: Scoreboard, baselines: Sequence[str], folds: int, seed: int
) -> tuple[Array, Counter[str]]:
    """Return each user's statistics under the method that others chose, and the folds by method chosen.

    Args:
        scoreboard: Scoreboard of the task.
        baselines: Names of the methods that are chosen among; ties go to the first.
        folds: Number of folds of users; fewer where there are fewer users.
        seed: Seed that users are split into folds with.
    """
    best = best_by_user(scoreboard, baselines, folds, seed)
    by_user = {method: scoreboard.bootstrap.by_user(scoreboard.statistics[method]) for method in best.chosen}
    return np.array([by_user[name][user] for user, name in enumerate(best.names)]), best.chosen


def _oracle_gap(scoreboard: Scoreboard, method: str, controls: tuple[str, str]) -> Array | None:
    if any(control not in scoreboard.values for control in controls):
        return None
    gap = closed_gap(scoreboard.mains(method), *(scoreboard.mains(control) for control in controls))
    return None if np.isnan(gap[0]) else gap
