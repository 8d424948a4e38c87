"""How many users a method makes worse, chance apart: by empirical Bayes over users with few queries each."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from hydra_ray.evaluate.scoring.metrics import Array

# Ratios that are averaged over: variance of users' own gains to that of queries.
_RATIOS = np.concatenate([[0.0], np.geomspace(1e-3, 10, 25)])
# Variance of gains that never differ: what is left is rounding.
_LEAST = 1e-12


def share_made_worse(gains: Array, users: npt.NDArray[np.int64]) -> float:
    """Return the share of all users whom a method can be expected to make worse, once chance is taken out.

    Of a user with three queries one unlucky answer turns the mean, so counting who has a negative one counts chance.
    Here gain = mean + u + e over the queries at which both methods answer differently, with u ~ N(0, t) for each user
    and e ~ N(0, s) for each query; the mean has a flat prior, and the ratio t / s is averaged over, weighted by its
    restricted likelihood (Patterson and Thompson, 1971). The share is the mean probability that mean + u is below 0
    (Efron and Morris, 1975, for the shrinkage); who gets the same answers from both methods is not worse.

    Args:
        gains: Gain of each query, NaN where both methods answer the same, shape (queries,).
        users: User of each query, as numbers from 0, shape (queries,).
    """
    everybody = int(users.max()) + 1
    differs = ~np.isnan(gains)
    y, of_user = gains[differs], np.unique(users[differs], return_inverse=True)[1]
    if not len(y):
        return 0.0
    sizes, totals = np.bincount(of_user).astype(float), np.bincount(of_user, y)
    if len(y) == 1:
        # One query has no variance to be told apart from its gain.
        return float(y[0] < 0) / everybody
    likelihoods, shares = [], []
    for ratio in _RATIOS:
        weight = 1 / (1 + sizes * ratio)
        precision = float(weight @ sizes)
        mean = float(weight @ totals) / precision
        left = float(y @ y) - float((weight * ratio) @ totals**2) - mean**2 * precision
        variance = max(left / (len(y) - 1), _LEAST)
        likelihoods.append(-0.5 * ((len(y) - 1) * np.log(variance) - np.log(weight).sum() + np.log(precision)))
        # A user's own gain, shrunk to the mean of all, and how sure that is.
        own = mean + (1 - weight) * (totals / sizes - mean)
        spread = np.sqrt(variance * (weight * ratio + weight**2 / precision))
        shares.append(sum(NormalDist().cdf(-one / sure) for one, sure in zip(own, spread, strict=True)))
    given = np.exp(np.array(likelihoods) - max(likelihoods))
    return float(given @ np.array(shares) / given.sum()) / everybody
