"""Which users truly lose: what each user's few queries show, read beside what all users' gains have in common."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from hydra_ray.evaluate.scoring.metrics import Array


def chances_of_loss(gains: Sequence[Array]) -> Array:
    """Return the probability that each user's mean gain is below 0, could they ask without end.

    A user's gain at one query is m + e with m ~ N(mu, tau^2) across users and e ~ N(0, s^2) across queries. s^2 is
    pooled within users, tau^2 found by moments (DerSimonian and Laird, 1986, section 2), and a user's own mean is
    shrunk towards mu, whose uncertainty counts (Morris, 1983, section 3). One query a user tells noise and users not
    apart: then all spread counts as noise.

    Args:
        gains: Gains of each user at each query, shape (queries,) each; none is empty.

    Returns:
        Probabilities, shape (users,).
    """
    if not gains:
        return np.zeros(0)
    sizes = np.array([len(own) for own in gains], dtype=float)
    means = np.array([own.mean() for own in gains])
    noise = _within(gains, means)
    if noise == 0:
        # Every query of a user gains the same: nothing is left to doubt.
        return (means < 0).astype(float)
    own_variance = noise / sizes
    between = _between(means, own_variance)
    weights = 1 / (own_variance + between)
    mu, mu_variance = float(weights @ means / weights.sum()), float(1 / weights.sum())
    shrink = own_variance / (own_variance + between)
    expected = shrink * mu + (1 - shrink) * means
    spread = np.sqrt((1 - shrink) * own_variance + shrink**2 * mu_variance)
    return np.array([NormalDist().cdf(-mean / sd) for mean, sd in zip(expected, spread, strict=True)])


def _within(gains: Sequence[Array], means: Array) -> float:
    """Return the variance of gains within users; that across users where nobody has two queries."""
    left = sum(len(own) - 1 for own in gains)
    if left:
        return sum(float(((own - mean) ** 2).sum()) for own, mean in zip(gains, means, strict=True)) / left
    return float(means.var(ddof=1)) if len(means) > 1 else 0.0


def _between(means: Array, own_variance: Array) -> float:
    """Return the variance across users, 0 where users differ by no more than noise."""
    weights = 1 / own_variance
    spread = float(weights @ (means - weights @ means / weights.sum()) ** 2)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    return max(0.0, (spread - (len(means) - 1)) / scale) if scale > 0 else 0.0
