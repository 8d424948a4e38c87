"""How sure a measured number is: percentile bootstrap over users (Efron and Tibshirani, 1993)."""

from __future__ import annotations

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
        users: The user of each item, in the items' order.
        resamples: How many resamples; memory is 8 bytes a resample and user.
        seed: Of the resampling.
    """

    def __init__(self, users: Sequence[Hashable], resamples: int = 1000, seed: int = 0) -> None:
        places = {user: place for place, user in enumerate(dict.fromkeys(users))}
        self._user_of_item = np.array([places[user] for user in users])
        self.users = len(places)
        drawn = np.random.default_rng(seed).multinomial(self.users, np.full(self.users, 1 / self.users), resamples)
        # How often each user is drawn, the data itself as the first row.
        self._draws: Array = np.vstack([np.ones(self.users), drawn])

    def sums(self, statistics: Array) -> Array:
        """Summed statistics of the data and of each resample.

        Args:
            statistics: One row an item, shape (items, width).

        Returns:
            Shape (1 + resamples, width); row 0 is the data itself.
        """
        by_user = np.zeros((self.users, statistics.shape[1]))
        np.add.at(by_user, self._user_of_item, statistics)
        return self._draws @ by_user


def interval(values: Array, n: int) -> Interval:
    """The first value with the percentile interval of the others.

    Args:
        values: The data's value, then the resamples' values, shape (1 + resamples,); infinite ones are allowed.
        n: Number of items.
    """
    resampled = np.sort(values[1:])
    # Order statistics, not interpolated quantiles: the same number is cut at both ends, and infinities stay whole.
    cut = int(len(resampled) * (1 - LEVEL) / 2)
    return Interval(float(values[0]), float(resampled[cut]), float(resampled[-1 - cut]), n)


def paired_difference(first: Array, second: Array, n: int, higher_is_better: bool = True) -> Interval:
    """How much better the first method is than the second, over the same resamples of users.

    The first beats the second beyond chance when `low` is above 0. Whether the two methods' own intervals
    overlap says less: it ignores that both answered the same queries.

    Args:
        first: Values of the first method, from one `Bootstrap`, shape (1 + resamples,).
        second: Values of the second, from the same `Bootstrap`.
        n: Number of items.
        higher_is_better: False turns the sign, so that more than 0 is better for errors too.
    """
    return interval(_gain(first, second, higher_is_better), n)


def relative_improvement(hydra: npt.ArrayLike, baseline: npt.ArrayLike, higher_is_better: bool = True) -> Array:
    """How much better `hydra` is than `baseline`, as a share of the baseline: 0.1 is 10 % better.

    Args:
        hydra: Values of the method, any shape.
        baseline: Values of the baseline, the same shape.
        higher_is_better: False turns the sign, so that more than 0 is better for errors too.

    Returns:
        The same shape; infinite where only the baseline is 0, and 0 where both are.
    """
    gain, scale = _gain(np.asarray(hydra, float), np.asarray(baseline, float), higher_is_better), np.abs(baseline)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gain == 0, 0.0, gain / scale)


def _gain(first: Array, second: Array, higher_is_better: bool) -> Array:
    return first - second if higher_is_better else second - first
