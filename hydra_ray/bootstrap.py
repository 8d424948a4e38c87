"""Intervals of measured numbers: percentile bootstrap over users (Efron and Tibshirani, 1993, section 13.3)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with the ends of its 95 % interval, and how many items it is about."""

    value: float
    low: float
    high: float
    n: int


class Bootstrap:
    """Resamples users with replacement, each with all their items.

    Items of one user are alike, so resampling items would give intervals that are too narrow. One
    instance gives every method the same resamples: values of two methods can be subtracted or divided
    row by row, and the interval of the result is that of the paired comparison.

    Args:
        users: User of each item, in the items' order.
        resamples: Number of resamples; memory is 8 bytes a resample and user.
        seed: Seed that the resampling draws with.
    """

    def __init__(self, users: Sequence[Hashable], resamples: int, seed: int) -> None:
        places = {user: place for place, user in enumerate(dict.fromkeys(users))}
        of_item = np.array([places[user] for user in users], dtype=int)
        self.users = len(places)
        self._order = np.argsort(of_item, kind="stable")
        self._starts = np.searchsorted(of_item[self._order], np.arange(self.users))
        drawn = np.random.default_rng(seed).multinomial(self.users, np.full(self.users, 1 / self.users), resamples)
        # How often each user is drawn, the data itself as the first row.
        self._draws: Array = np.vstack([np.ones(self.users), drawn])

    def by_user(self, statistics: Array) -> Array:
        """Return summed statistics of each user.

        Args:
            statistics: One row for each item, shape (items, width).

        Returns:
            Sums, shape (users, width), users in the order in which they first occur.
        """
        return np.add.reduceat(statistics[self._order], self._starts, axis=0)

    def resampled(self, by_user: Array) -> Array:
        """Return sums over users of the data and of each resample.

        Args:
            by_user: Summed statistics of each user, from `by_user`, shape (users, width).

        Returns:
            Sums, shape (1 + resamples, width); row 0 is the data itself.
        """
        return self._draws @ by_user

    def sums(self, statistics: Array) -> Array:
        """Return summed statistics of the data and of each resample.

        Args:
            statistics: One row for each item, shape (items, width).

        Returns:
            Sums, shape (1 + resamples, width); row 0 is the data itself.
        """
        return self.resampled(self.by_user(statistics))


def interval(values: Array, n: int) -> Interval:
    """Return the first value with the percentile interval of the others.

    Args:
        values: The data's value, then the resamples' values, shape (1 + resamples,). Infinite ones are allowed; those
            that are not a number say nothing and are left out. With none left the interval has no ends.
        n: Number of items.
    """
    resampled = np.sort(values[1:][~np.isnan(values[1:])])
    if not len(resampled):
        return Interval(float(values[0]), -math.inf, math.inf, n)
    # Order statistics, not interpolated quantiles: the same number is cut at both ends, and infinities stay whole.
    cut = int(len(resampled) * (1 - LEVEL) / 2)
    return Interval(float(values[0]), float(resampled[cut]), float(resampled[-1 - cut]), n)


def paired_difference(first: Array, second: Array, n: int, higher_is_better: bool = True) -> Interval:
    """Return the gain of the first method over the second, over the same resamples of users.

    The first beats the second beyond chance when `low` is above 0. Whether the two methods' own intervals
    overlap says less: it ignores that both answered the same queries.

    Args:
        first: Values of the first method, from one `Bootstrap`, shape (1 + resamples,).
        second: Values of the second, from the same `Bootstrap`.
        n: Number of items.
        higher_is_better: False turns the sign, so that more than 0 is better for errors too.
    """
    return interval(gain(first, second, higher_is_better), n)


def relative_improvement(hydra: npt.ArrayLike, baseline: npt.ArrayLike, higher_is_better: bool = True) -> Array:
    """Return the gain of `hydra` over `baseline`, as a share of the baseline: 0.1 is 10 % better.

    Args:
        hydra: Values of the method, any shape.
        baseline: Values of the baseline, the same shape.
        higher_is_better: False turns the sign, so that more than 0 is better for errors too.

    Returns:
        Shares, the same shape; infinite where only the baseline is 0, and 0 where both are.
    """
    by, scale = gain(np.asarray(hydra, float), np.asarray(baseline, float), higher_is_better), np.abs(baseline)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(by == 0, 0.0, by / scale)


def gain(first: Array, second: Array, higher_is_better: bool) -> Array:
    """Return the gain of the first over the second: the difference, its sign turned for errors; any shape."""
    return first - second if higher_is_better else second - first


def two_sided_p(differences: Array) -> float:
    """Return the two-sided p value of a difference: twice the smaller share of resamples on either side of 0.

    p = min(1, 2 * min(1 + #(d <= 0), 1 + #(d >= 0)) / (1 + resamples)). The data counts as a resample, so that no p is
    0 (Davison and Hinkley, 1997, section 4.2).

    Args:
        differences: The data's difference, then the resamples', shape (1 + resamples,).
    """
    resampled = differences[1:]
    fewer = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
    return min(1.0, 2 * (1 + fewer) / (1 + len(resampled)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for how many there are (Holm, 1979): the step-down Bonferroni method.

    Args:
        p_values: P values of all comparisons, in any order.

    Returns:
        Corrected p values in the same order; all that are at most a level hold together at that level.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        # A larger p-value never gets a smaller correction than one before it.
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected
