"""Compares arms of an online experiment with one of them, user by user."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hydra_ray.bootstrap import LEVEL, Bootstrap, Interval, holm, interval
from hydra_ray.experiment.measures import MEASURES, Measure
from hydra_ray.experiment.observed import Array, Numbers, Observed
from hydra_ray.experiment.sequential import always_valid_p, half_width

# Below these both the bootstrap and the asymptotics behind the confidence sequence are not to be trusted.
LEAST_USERS = 50
LEAST_HITS = 10
# Numbers that the draws of one block of resamples may take.
_BLOCK = 4_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """What one arm came to in one measure.

    Attributes:
        measure: Name of the measure.
        value: Mean over the arm's completions that have it, with its interval; n counts them.
        users: Users who have any.
    """

    measure: str
    value: Interval
    users: int


@dataclass(frozen=True, slots=True)
class ArmReport:
    """What one arm came to.

    Attributes:
        arm: Name of the arm.
        users: Users who were served by it.
        completions: Completions that it answered.
        figures: One for each measure of which it has any number.
    """

    arm: str
    users: int
    completions: int
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How an arm differs from another in one measure.

    Attributes:
        measure: Name of the measure.
        arm: Name of the arm.
        against: Name of the other arm.
        difference: The arm's figure less the other's, with a bootstrap interval that holds at one look.
        standard_error: Standard deviation of the difference as an estimate, users as clusters.
        low: Lower end of the confidence sequence, which holds at all looks together; -infinity where nothing is known.
        high: Upper end.
        p: Always-valid p value.
        p_holm: The same, corrected for the number of arms that are compared with the same one (Holm, 1979).
        too_little: Why nothing can be said yet; empty where something can. Then `p` is 1.
    """

    measure: str
    arm: str
    against: str
    difference: Interval
    standard_error: float
    low: float
    high: float
    p: float
    p_holm: float
    too_little: str


def compare(
    observed: Observed, against: str, effect: float, resamples: int, seed: int
) -> tuple[list[ArmReport], list[Comparison]]:
    """Return what each arm came to, and how each differs from one of them.

    Args:
        observed: Completions that were served.
        against: Arm that the others are compared with.
        effect: Size of the differences that matter, as a share of what `against` comes to: 0.1 is ten per cent.
        resamples: Resamples of users behind each interval.
        seed: Seed that the resampling draws with.
    """
    measures = [one for one in MEASURES if one.name in observed.values]
    names = sorted(map(str, np.unique(observed.arms)), key=lambda name: (name != against, name))
    sums = _Sums.of(observed, names, measures, resamples, seed)
    reports = [sums.report(name) for name in names]
    comparisons = []
    for measure in measures:
        found = [
            sums.compared(measure, name, against, effect) for name in names if name != against and against in names
        ]
        corrected = holm([one.p for one in found])
        comparisons += [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]
    return reports, comparisons


def always_valid(observed: Observed, measure: Measure, arm: str, against: str, effect: float) -> Comparison:
    """Return one comparison without the bootstrap: for who looks again and again.

    Args:
        observed: Completions that were served.
        measure: What is compared.
        arm: Name of the arm.
        against: Name of the other arm.
        effect: Size of the differences that matter, as for `compare`.
    """
    return _Sums.of(observed, [against, arm], [measure], 0, 0).compared(measure, arm, against, effect)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Weighted sums by user of all arms and measures, and of resamples of users.

    Attributes:
        names: Arms.
        measures: Measures.
        by_user: Numerator and denominator by user, shape (users, arms, measures, 2).
        resampled: The same summed over the users of the data and of each resample, shape (1 + resamples, arms,
            measures, 2).
        counts: Completions that have the measure, shape (arms, measures).
        completions: Completions by arm.
        served: Users by arm.
    """

    names: Sequence[str]
    measures: Sequence[Measure]
    by_user: Array
    resampled: Array
    counts: npt.NDArray[np.int64]
    completions: tuple[int, ...]
    served: tuple[int, ...]

    @classmethod
    def of(
        cls, observed: Observed, names: Sequence[str], measures: Sequence[Measure], resamples: int, seed: int
    ) -> _Sums:
        in_arm = np.array([observed.arms == name for name in names]).reshape(len(names), len(observed))
        values = np.array([observed.values[one.name] for one in measures]).reshape(len(measures), len(observed))
        has = ~np.isnan(values)
        weights = 1 / observed.propensities
        taken = in_arm[:, None, :] & has[None, :, :]
        parts = np.stack([np.where(has, values, 0.0), has.astype(float)], axis=-1) * weights[None, :, None]
        shape = (len(names), len(measures), 2)
        by_item = parts.transpose(1, 0, 2).reshape(len(observed), -1)
        # Arm by arm: all of them at once would take as many times the memory.
        by_user = np.hstack([_by_user(observed.users, np.where(row[:, None], by_item, 0.0)) for row in in_arm])
        resampled = np.vstack(list(_blocks(by_user, resamples, seed)))
        served = tuple(len(np.unique(observed.users[row])) for row in in_arm)
        return cls(
            names,
            measures,
            by_user.reshape(-1, *shape),
            resampled.reshape(-1, *shape),
            taken.sum(axis=2),
            tuple(int(row.sum()) for row in in_arm),
            served,
        )

    def report(self, arm: str) -> ArmReport:
        at = self.names.index(arm)
        figures = [
            Figure(measure.name, interval(self._ratios(at, place), int(self.counts[at, place])), self._users(at, place))
            for place, measure in enumerate(self.measures)
            if self.counts[at, place]
        ]
        return ArmReport(arm, self.served[at], self.completions[at], tuple(figures))

    def compared(self, measure: Measure, arm: str, against: str, effect: float) -> Comparison:
        place, first, second = self.measures.index(measure), self.names.index(arm), self.names.index(against)
        n = int(self.counts[first, place] + self.counts[second, place])
        differences = self._ratios(first, place) - self._ratios(second, place)
        too_little = self._too_little(place, first) or self._too_little(place, second)
        if too_little:
            nothing = Interval(float(differences[0]), -math.inf, math.inf, n)
            return Comparison(measure.name, arm, against, nothing, math.inf, -math.inf, math.inf, 1.0, 1.0, too_little)
        tau = effect * abs(float(self._ratios(second, place)[0]))
        difference, variance = float(differences[0]), self._variance(place, first, second)
        width, p = half_width(variance, tau, 1 - LEVEL), always_valid_p(difference, variance, tau)
        found, error = interval(differences, n), math.sqrt(variance)
        return Comparison(measure.name, arm, against, found, error, difference - width, difference + width, p, p, "")

    def _ratios(self, arm: int, measure: int) -> Array:
        """An arm's figure in the data and in each resample, shape (1 + resamples,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = self.resampled[:, arm, measure, 0] / self.resampled[:, arm, measure, 1]
        return found

    def _variance(self, measure: int, first: int, second: int) -> float:
        """Variance of a difference of two ratios, linearised, with users as clusters (Liang and Zeger, 1986)."""
        shares = np.zeros(len(self.by_user))
        for sign, arm in ((1, first), (-1, second)):
            sums = self.by_user[:, arm, measure]
            total = sums[:, 1].sum()
            shares += sign * (sums[:, 0] - sums[:, 0].sum() / total * sums[:, 1]) / total
        users = int((self.by_user[:, [first, second], measure, 1] > 0).any(axis=1).sum())
        return float(shares @ shares) * users / (users - 1)

    def _users(self, arm: int, measure: int) -> int:
        return int((self.by_user[:, arm, measure, 1] > 0).sum())

    def _too_little(self, measure: int, arm: int) -> str:
        users, name = self._users(arm, measure), self.names[arm]
        if users < LEAST_USERS:
            return f"{users} users in {name}, of {LEAST_USERS}"
        if self.measures[measure].is_share:
            sums = self.by_user[:, arm, measure]
            hits, misses = int((sums[:, 0] > 0).sum()), int((sums[:, 0] < sums[:, 1]).sum())
            if min(hits, misses) < LEAST_HITS:
                which = "any" if hits < misses else "none"
                return f"{min(hits, misses)} users with {which} in {name}, of {LEAST_HITS}"
        return ""


def _by_user(users: Numbers, by_item: Array) -> Array:
    """Sums of each user, shape (users, width)."""
    order = np.argsort(users, kind="stable")
    in_order = users[order]
    starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]]) if len(users) else np.zeros(0, int)
    summed: Array = np.add.reduceat(by_item[order], starts, axis=0) if len(users) else by_item
    return summed


def _blocks(by_user: Array, resamples: int, seed: int) -> Iterator[Array]:
    """Sums of the data, then of the resamples, drawn block by block so that many users take bounded memory."""
    yield by_user.sum(axis=0, keepdims=True)
    users = len(by_user)
    if not users:
        return
    size = max(1, _BLOCK // max(1, users))
    seeds = np.random.SeedSequence(seed).generate_state(math.ceil(resamples / size))
    for begin, block_seed in zip(range(0, resamples, size), seeds, strict=True):
        block = Bootstrap(range(users), min(size, resamples - begin), int(block_seed))
        yield block.resampled(by_user)[1:]
