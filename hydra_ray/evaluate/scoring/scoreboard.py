"""Scores of one task's methods, on the data and on the same resamples of its users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hydra_ray.bootstrap import Bootstrap, Interval, gain, interval
from hydra_ray.evaluate.scoring.align import AlignedRuns
from hydra_ray.evaluate.scoring.controls import CONTROLS
from hydra_ray.evaluate.scoring.metrics import Array, metrics_of, prepare


class Scoreboard:
    """Metrics of outputs under one bootstrap: values of two methods can be compared resample by resample.

    The bootstrap's unit is the user, over all training seeds: a user's items under several seeds are drawn together.

    Args:
        aligned: Aligned runs, whose items are scored.
        outputs: Outputs by method, one for each item; an empty one is wrong.
        resamples: Number of resamples of users.
        seed: Seed that the resampling draws with.

    Attributes:
        aligned: Aligned runs, whose items are scored.
        outputs: Outputs by method, one for each item.
        metrics: Metrics of the task's kind, the main one first.
        main: The metric that methods are ranked by.
        resamples: Number of resamples of users.
        seed: Seed that the resampling draws with.
        bootstrap: Bootstrap over all items.
        statistics: Additive statistics by method, shape (items, width).
        values: Values by method and metric: the data's, then those of the resamples, shape (1 + resamples,).

    Raises:
        HydraError: There are no metrics for the task, or it lacks its labels.
    """

    def __init__(self, aligned: AlignedRuns, outputs: Mapping[str, Sequence[str]], resamples: int, seed: int) -> None:
        self.aligned, self.outputs = aligned, outputs
        self.resamples, self.seed = resamples, seed
        self.statistics = {method: prepare(aligned.task, texts, aligned.golds) for method, texts in outputs.items()}
        self.metrics = metrics_of(aligned.task.kind)
        self.main = self.metrics[0]
        self.bootstrap = Bootstrap(aligned.users, resamples, seed)
        self.values: dict[str, dict[str, Array]] = {}
        for method, statistics in self.statistics.items():
            sums = self.bootstrap.sums(statistics)
            self.values[method] = {metric.name: metric.value(sums) for metric in self.metrics}

    @property
    def competitors(self) -> list[str]:
        """The methods that are not controls."""
        return [method for method in self.values if method not in CONTROLS]

    def mains(self, method: str) -> Array:
        """Return the method's values of the main metric, shape (1 + resamples,)."""
        return self.values[method][self.main.name]

    def better_by(self, first: str, second: str) -> Array:
        """Return the gain of the first method over the second on the main metric, shape (1 + resamples,)."""
        return gain(self.mains(first), self.mains(second), self.main.higher_is_better)

    def score(self, statistics: Array) -> Array:
        """Return the main metric with its sign turned for errors, so that more is better.

        Args:
            statistics: Summed statistics, shape (..., width).

        Returns:
            Scores, shape (...).
        """
        value = self.main.value(statistics)
        return value if self.main.higher_is_better else -value

    def best(self, methods: Sequence[str]) -> str:
        """Return the method that is best on the data; ties go to the first."""
        return max(methods, key=lambda method: self.score(self.statistics[method].sum(axis=0)))

    def within(self, items: Sequence[int]) -> dict[str, Interval]:
        """Return the main metric of every method on some of the items, with intervals over those items' users."""
        places = np.asarray(items)
        users = self.aligned.users
        bootstrap = Bootstrap([users[place] for place in items], self.resamples, self.seed)
        return {
            method: interval(self.main.value(bootstrap.sums(statistics[places])), len(items))
            for method, statistics in self.statistics.items()
        }

    def by_seed(self) -> dict[str, dict[int, float]]:
        """Return the main metric by method and training seed."""
        seed_of = np.array(self.aligned.seed_of)
        return {
            method: {
                seed: float(self.main.value(statistics[seed_of == seed].sum(axis=0))) for seed in self.aligned.seeds
            }
            for method, statistics in self.statistics.items()
        }
