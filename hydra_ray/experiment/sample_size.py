"""How many users an experiment takes until a difference of a given size is found."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from statistics import NormalDist

from hydra_ray.experiment.sequential import half_width

_MOST_USERS = 10**10


@dataclass(frozen=True, slots=True)
class SampleSize:
    """Users that an experiment takes, in both arms together.

    Attributes:
        fixed: Users where the result is looked at once, when they all were served.
        sequential: Users where it may be looked at any time.
        effect: Size of the difference that is found with the power asked for.
    """

    fixed: int
    sequential: int
    effect: float


@dataclass(frozen=True, slots=True)
class Design:
    """How an experiment is run.

    Attributes:
        share: Share of the arm among the users of both arms, above 0 and below 1.
        completions: Completions of a user, on average.
        correlation: How alike the completions of one user are: intraclass correlation, 0 to 1.
        alpha: Probability of calling no difference one.
        power: Probability of finding a difference that is there.
    """

    share: float
    completions: float
    correlation: float
    alpha: float
    power: float


def for_share(baseline: float, effect: float, design: Design) -> SampleSize:
    """Return the users that it takes to find a difference between two shares.

    Args:
        baseline: Share in the arm that is compared with, above 0 and below 1.
        effect: Difference of the shares.
        design: How the experiment is run.

    Raises:
        ValueError: A share is not between 0 and 1, or a number of the design makes no sense; the message names it.
    """
    changed = baseline + effect
    for name, share in (("baseline", baseline), ("baseline + effect", changed)):
        if not 0 < share < 1:
            raise ValueError(f"{name}: {share:g} is not between 0 and 1")
    return _size(effect, baseline * (1 - baseline), changed * (1 - changed), design)


def for_mean(deviation: float, effect: float, design: Design) -> SampleSize:
    """Return the users that it takes to find a difference between two means.

    Args:
        deviation: Standard deviation of one completion's number, above 0.
        effect: Difference of the means.
        design: How the experiment is run.

    Raises:
        ValueError: A number makes no sense; the message names it.
    """
    if deviation <= 0:
        raise ValueError(f"deviation: {deviation:g} is not above 0")
    return _size(effect, deviation**2, deviation**2, design)


def _size(effect: float, baseline_variance: float, arm_variance: float, design: Design) -> SampleSize:
    _check(effect, design)
    # A user's completions tell less the more alike they are (Kish, 1965, section 5.4).
    of_a_user = (1 + (design.completions - 1) * design.correlation) / design.completions
    # Variance of the difference, times the number of users.
    variance = of_a_user * (arm_variance / design.share + baseline_variance / (1 - design.share))
    beyond = NormalDist().inv_cdf(design.power)
    fixed = variance * ((NormalDist().inv_cdf(1 - design.alpha / 2) + beyond) / effect) ** 2

    def is_found(users: int) -> bool:
        one = variance / users
        return abs(effect) >= half_width(one, abs(effect), design.alpha) + beyond * math.sqrt(one)

    # More users never find it less often.
    sequential = bisect.bisect_left(range(_MOST_USERS), True, lo=1, key=is_found)
    return SampleSize(math.ceil(fixed), sequential, effect)


def _check(effect: float, design: Design) -> None:
    if effect == 0 or not math.isfinite(effect):
        raise ValueError(f"effect: {effect:g} is no difference")
    for name in ("share", "alpha", "power"):
        if not 0 < getattr(design, name) < 1:
            raise ValueError(f"{name}: {getattr(design, name):g} is not between 0 and 1")
    if design.completions < 1:
        raise ValueError(f"completions: {design.completions:g} is less than 1")
    if not 0 <= design.correlation <= 1:
        raise ValueError(f"correlation: {design.correlation:g} is not from 0 to 1")
