"""Fits a gate on what choices gained for training users: evidence opens it, however many or few users that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hydra_ray.models.gate import Array, Gate
from hydra_ray.models.student import StudentT
from hydra_ray.records import UserKey

# Ratios that are tried and averaged over: variance of users to that of requests, and requests' variance to slopes'.
_USER_RATIOS = np.concatenate([[0.0], np.geomspace(1e-3, 10, 17)])
_SLOPE_RATIOS = np.geomspace(1e-1, 1e6, 22)
# Weights of ratios below which they change nothing.
_LEAST_SHARE = 1e-5
# Rows that the prior on how far gains spread counts as: four users who gain the same show no spread, and have some.
_PRIOR_ROWS = 2.0
# Shares of the rows that bars are tried at.
_BARS = np.linspace(0, 1, 41)
# Of a feature that never differs in training nothing is learnt.
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class GateRow:
    """A query at which hydra's choice and the plain answer differ, with what both came to.

    Attributes:
        user: The user who asked.
        gain: Score of hydra's choice less that of the plain answer.
        features: What is known before the answers are judged, one number a feature.
    """

    user: UserKey
    gain: float
    features: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Posterior:
    """What is known of the weights: Student's t for each pair of ratios, mixed by how likely these are.

    Attributes:
        shares: Weights of the mixture, shape (pairs,).
        means: Means of the weights, shape (pairs, 1 + features).
        covariances: Covariances of the weights, shape (pairs, 1 + features, 1 + features).
        user_variances: Variances of users' own gains, shape (pairs,).
        students: Distribution of what is scaled by its standard deviation.
    """

    shares: Array
    means: Array
    covariances: Array
    user_variances: Array
    students: StudentT

    @property
    def mean(self) -> Array:
        """Mean of the weights over all pairs, shape (1 + features,)."""
        return self.shares @ self.means

    @property
    def covariance(self) -> Array:
        """Covariance of the weights over all pairs, shape (1 + features, 1 + features)."""
        apart = self.means - self.mean
        within = np.einsum("k,kij->ij", self.shares, self.covariances)
        return within + np.einsum("k,ki,kj->ij", self.shares, apart, apart)

    def chances_of_loss(self, x: Array, *, own: bool) -> Array:
        """Return the probability that each row's gain is below 0, shape (rows,).

        Args:
            x: Standardised features with a 1 before them, shape (rows, 1 + features).
            own: Whether each is the gain of one user, of whom no more is known; else it is all users' mean gain.
        """
        variances = np.einsum("ri,kij,rj->rk", x, self.covariances, x)
        if own:
            variances = variances + self.user_variances
        chances: Array = self.students.cdf(-(x @ self.means.T) / np.sqrt(np.maximum(variances, _SAME**2))) @ self.shares
        return chances


def fit_gate(
    rows: Sequence[GateRow], plain: str, names: Sequence[str], *, caution: float, least_users: int, among: int
) -> Gate:
    """Fit a gate: Bayesian linear regression of gains with an effect of each user, so that users are what is counted.

    gain = w . x + u + e with u ~ N(0, user_variance) for each user and e ~ N(0, variance) for each request. Slopes have
    a Gaussian prior around zero, the intercept a flat one, and the spread of gains an inverse gamma one, as wide as
    gains are far from zero. Both ratios of variances are averaged over, weighted by their restricted likelihood
    (Patterson and Thompson, 1971). Chances are Student's t with a degree of freedom less than there are users: few
    users have to gain more before it is believed.

    What is held against the bar is a request's expected gain. It is users that something is promised of, and in two
    steps:

    1. The gate is open where requests with an expected gain above 0 gain on the whole, each user counting the same,
       with a probability of (1 + `caution`) / 2, so that an interval at `caution` is above 0.
    2. The bar is the least at which a share of at most 1 - `caution` of the users can be expected to be worse off.

    Args:
        rows: Rows of training users, each judged by a base that was trained without its user.
        plain: Name of the plain answer.
        names: Names of the features.
        caution: Share of users who are not to be made worse, at least 0.5.
        least_users: Number of users below which the gate stays closed.
        among: Number of users whose queries were judged; those whose answers never differ cannot be made worse.
    """
    users = sorted({row.user for row in rows})
    if len(users) < max(2, least_users):
        return _closed(plain, names, caution, len(users))
    features = np.array([row.features for row in rows], dtype=float).reshape(len(rows), len(names))
    centre, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > _SAME, spread, 1.0)
    read = (features - centre) / scale
    place = {user: number for number, user in enumerate(users)}
    of_user = np.array([place[row.user] for row in rows])
    x, y = np.column_stack([np.ones(len(rows)), read]), np.array([row.gain for row in rows], dtype=float)
    posterior = _posterior(x, y, of_user)
    return Gate(
        plain,
        tuple(names),
        caution,
        len(users),
        centre,
        scale,
        read.min(axis=0),
        read.max(axis=0),
        posterior.mean,
        posterior.covariance,
        float(posterior.shares @ posterior.user_variances),
        posterior.students.quantile(caution),
        by_low=False,
        bar=_bar(posterior, x, of_user, caution, max(among, len(users))),
    )


def _closed(plain: str, names: Sequence[str], caution: float, users: int) -> Gate:
    """A gate that lets nothing through."""
    zeros, size = np.zeros(len(names)), 1 + len(names)
    return Gate(
        plain,
        tuple(names),
        caution,
        users,
        zeros,
        np.ones(len(names)),
        zeros,
        zeros,
        np.zeros(size),
        np.zeros((size, size)),
        0.0,
        0.0,
        by_low=False,
        bar=float("inf"),
    )


def _posterior(x: Array, y: Array, of_user: npt.NDArray[np.int64]) -> _Posterior:
    """Return what gains tell of the weights.

    Args:
        x: Standardised features with a 1 before them, shape (rows, 1 + features).
        y: Gains, shape (rows,).
        of_user: Number of each row's user, shape (rows,).
    """
    rows, size = x.shape
    sizes = np.bincount(of_user).astype(float)
    # Sums by user are all that the likelihood depends on.
    sums = np.stack([np.bincount(of_user, column) for column in x.T], axis=1)
    totals = np.bincount(of_user, y)
    xx, xy, yy = x.T @ x, x.T @ y, float(y @ y)
    slopes = np.diag([0.0, *np.ones(size - 1)])
    degrees, around = rows - 1 + _PRIOR_ROWS, _PRIOR_ROWS * max(yy / rows, _SAME)
    found = []
    for user_ratio in _USER_RATIOS:
        shrink = user_ratio / (1 + sizes * user_ratio)
        within, right = xx - (sums.T * shrink) @ sums, xy - sums.T @ (shrink * totals)
        squares, spread = yy - float(shrink @ totals**2), float(np.log1p(sizes * user_ratio).sum())
        # The prior is on the spread of all gains: users' part and requests' part together.
        prior = around / (1 + user_ratio)
        for slope_ratio in _SLOPE_RATIOS:
            precision = within + slope_ratio * slopes
            inverse = np.linalg.inv(precision)
            mean = inverse @ right
            left = max(squares - float(right @ mean), 0.0) + prior
            likelihood = 0.5 * (
                _PRIOR_ROWS * np.log(prior)
                - degrees * np.log(left)
                - spread
                - float(np.linalg.slogdet(precision)[1])
                + (size - 1) * np.log(slope_ratio)
            )
            variance = left / degrees
            found.append((likelihood, mean, variance * inverse, variance * user_ratio))
    likelihoods, means, covariances, user_variances = (np.array(column) for column in zip(*found, strict=True))
    shares = np.exp(likelihoods - likelihoods.max())
    kept = shares > _LEAST_SHARE
    return _Posterior(
        shares[kept] / shares[kept].sum(),
        means[kept],
        covariances[kept],
        user_variances[kept],
        StudentT(len(sizes) - 1),
    )


def _bar(posterior: _Posterior, x: Array, of_user: npt.NDArray[np.int64], caution: float, among: int) -> float:
    """Return the least bar above which few enough users are made worse; infinite where too little is sure to gain."""
    gains = x @ posterior.mean
    likely = gains > 0
    if not likely.any():
        return float("inf")
    on_the_whole = _by_user(x[likely], of_user[likely]).mean(axis=0, keepdims=True)
    if posterior.chances_of_loss(on_the_whole, own=False)[0] > (1 - caution) / 2:
        return float("inf")
    for bar in np.unique([0.0, *np.quantile(np.maximum(gains, 0.0), _BARS, method="lower")]):
        passes = gains > bar
        if not passes.any():
            break
        lost = posterior.chances_of_loss(_by_user(x[passes], of_user[passes]), own=True).sum()
        if lost <= (1 - caution) * among:
            return float(bar)
    return float("inf")


def _by_user(x: Array, of_user: npt.NDArray[np.int64]) -> Array:
    """Return the mean row of each user who has one, shape (users, 1 + features)."""
    counts = np.bincount(of_user).astype(float)
    sums = np.stack([np.bincount(of_user, column) for column in x.T], axis=1)
    means: Array = sums[counts > 0] / counts[counts > 0, None]
    return means
