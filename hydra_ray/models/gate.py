"""The gate: how much better hydra's choice can be expected to be than a plain method's answer, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hydra_ray.records import HydraError, UserKey

FILE = "gate.json"
_SCHEMA = "hydra-ray/gate/v1"

Array = npt.NDArray[np.float64]

# Ratios that are tried and averaged over: variance of users to that of requests, and requests' variance to slopes'.
_USER_RATIOS = np.concatenate([[0.0], np.geomspace(1e-3, 10, 17)])
_SLOPE_RATIOS = np.geomspace(1e-1, 1e6, 22)
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
class ExpectedGain:
    """Gain that hydra's choice can be expected to bring.

    Attributes:
        mean: Expected gain.
        low: Gain that is reached at least, as surely as the gate's caution says.
    """

    mean: float
    low: float


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A linear model of the expected gain with what is known of its weights, and the bar that a gain has to clear.

    Attributes:
        plain: Name of the plain answer that hydra's choice is compared with, and that is given where it does not pass.
        names: Names of the features.
        caution: Probability with which an expected gain is above its lower bound, and share of users who are not to be
            made worse.
        users: Number of training users of whom there are rows.
        centre: Mean of each feature, shape (features,).
        scale: Standard deviation of each feature, 1 where it never differs, shape (features,).
        least: Least value of each standardised feature, shape (features,).
        most: Greatest value of each standardised feature, shape (features,).
        weights: Mean of the weights, that of the intercept first, shape (1 + features,).
        covariance: Covariance of the weights, shape (1 + features, 1 + features).
        user_variance: Variance of users' own gains around what the features tell.
        bar: Lower bound that a gain has to be above; infinite where nothing passes.
    """

    plain: str
    names: tuple[str, ...]
    caution: float
    users: int
    centre: Array
    scale: Array
    least: Array
    most: Array
    weights: Array
    covariance: Array
    user_variance: float
    bar: float

    @property
    def is_closed(self) -> bool:
        """Whether it lets nothing through: too little is known."""
        return self.bar == float("inf")

    def expected(self, features: Sequence[float]) -> ExpectedGain:
        """Return the gain that a request with these features can be expected to bring."""
        x = self._read(np.array([features], dtype=float))
        mean, low = self._bounds(x)
        return ExpectedGain(float(mean[0]), float(low[0]))

    def passes(self, gain: ExpectedGain) -> bool:
        """Return whether hydra's choice is answered."""
        return gain.low > self.bar

    def save(self, folder: Path) -> None:
        """Write the gate into a folder, as JSON."""
        values: dict[str, Any] = {"schema": _SCHEMA}
        for field in fields(self):
            value = getattr(self, field.name)
            values[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
        # JSON knows no infinity.
        values["bar"] = None if self.is_closed else self.bar
        (folder / FILE).write_text(json.dumps(values, indent=1, allow_nan=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read what `save` wrote; None where there is no gate.

        Raises:
            HydraError: The file is damaged, or of another version.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if (schema := values.pop("schema")) != _SCHEMA:
                raise HydraError(f"{path}: schema is {schema!r}, not {_SCHEMA!r}; train again")
            return cls(**_read_values(values))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HydraError(f"{path}: damaged: {' '.join(str(error).split())}; train again") from None

    def _read(self, features: Array) -> Array:
        """Standardise features, shape (rows, features), and put a 1 before each row.

        What is beyond all that was seen in training counts as the farthest that was: a line goes on, what is known
        does not.
        """
        read = np.clip((features - self.centre) / self.scale, self.least, self.most)
        return np.column_stack([np.ones(len(read)), read])

    def _bounds(self, x: Array) -> tuple[Array, Array]:
        """Return means and lower bounds of the expected gains of rows that `_read` gave, shape (rows,) each."""
        mean = x @ self.weights
        sure = np.sqrt(np.maximum(0.0, np.einsum("ri,ij,rj->r", x, self.covariance, x)))
        return mean, mean - NormalDist().inv_cdf(self.caution) * sure


def fit_gate(rows: Sequence[GateRow], plain: str, names: Sequence[str], *, caution: float, least_users: int) -> Gate:
    """Fit a gate: Bayesian linear regression of gains with an effect of each user, so that users are what is counted.

    gain = w . x + u + e with u ~ N(0, user_variance) for each user and e ~ N(0, variance) for each request. Slopes have
    a Gaussian prior around zero, the intercept a flat one. Both ratios of variances are averaged over, weighted by
    their restricted likelihood (Patterson and Thompson, 1971).

    The bar is the least that keeps the promise for users: hydra's choices that pass make a share of at most
    1 - `caution` of the users worse, as far as the model can tell.

    Args:
        rows: Rows of training users, each judged by a base that was trained without its user.
        plain: Name of the plain answer.
        names: Names of the features.
        caution: Probability with which an expected gain is above its lower bound, above 0.5.
        least_users: Number of users below which the gate stays closed.
    """
    count = len(names)
    users = sorted({row.user for row in rows})
    if len(users) < max(2, least_users):
        return _closed(plain, names, caution, len(users))
    features = np.array([row.features for row in rows], dtype=float).reshape(len(rows), count)
    centre, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > _SAME, spread, 1.0)
    read = (features - centre) / scale
    place = {user: number for number, user in enumerate(users)}
    of_user = np.array([place[row.user] for row in rows])
    x, y = np.column_stack([np.ones(len(rows)), read]), np.array([row.gain for row in rows], dtype=float)
    weights, covariance, user_variance = _averaged(x, y, of_user)
    open_gate = Gate(
        plain,
        tuple(names),
        caution,
        len(users),
        centre,
        scale,
        read.min(axis=0),
        read.max(axis=0),
        weights,
        covariance,
        user_variance,
        bar=0.0,
    )
    return _with_bar(open_gate, x, of_user)


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
        float("inf"),
    )


def _averaged(x: Array, y: Array, of_user: npt.NDArray[np.int64]) -> tuple[Array, Array, float]:
    """Return mean and covariance of the weights, and the variance of users, over all ratios of variances.

    Args:
        x: Features with a 1 before them, shape (rows, 1 + features).
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
    found = []
    for user_ratio in _USER_RATIOS:
        shrink = user_ratio / (1 + sizes * user_ratio)
        within, right = xx - (sums.T * shrink) @ sums, xy - sums.T @ (shrink * totals)
        squares, spread = yy - float(shrink @ totals**2), float(np.log1p(sizes * user_ratio).sum())
        for slope_ratio in _SLOPE_RATIOS:
            precision = within + slope_ratio * slopes
            inverse = np.linalg.inv(precision)
            mean = inverse @ right
            left = max(squares - float(right @ mean), 1e-9)
            likelihood = -0.5 * (
                (rows - 1) * np.log(left)
                + spread
                + float(np.linalg.slogdet(precision)[1])
                - (size - 1) * np.log(slope_ratio)
            )
            variance = left / (rows - 1)
            found.append((likelihood, mean, variance * inverse, variance * user_ratio))
    likelihoods, means, covariances, user_variances = (np.array(column) for column in zip(*found, strict=True))
    share = np.exp(likelihoods - likelihoods.max())
    share /= share.sum()
    mean = share @ means
    apart = means - mean
    covariance = np.einsum("k,kij->ij", share, covariances) + np.einsum("k,ki,kj->ij", share, apart, apart)
    return mean, covariance, float(share @ user_variances)


def _with_bar(gate: Gate, x: Array, of_user: npt.NDArray[np.int64]) -> Gate:
    """Return the gate with the least bar above which few enough users are made worse, as far as it can tell."""
    _, low = gate._bounds(x)
    users = int(of_user.max()) + 1
    for bar in np.unique([0.0, *np.quantile(np.maximum(low, 0.0), _BARS, method="lower")]):
        passing = low > bar
        if _made_worse(gate, x[passing], of_user[passing]) / users <= 1 - gate.caution:
            return replace(gate, bar=float(bar))
    return replace(gate, bar=float("inf"))


def _made_worse(gate: Gate, x: Array, of_user: npt.NDArray[np.int64]) -> float:
    """Return how many users can be expected to lose by the rows that pass."""
    lost = 0.0
    for user in np.unique(of_user):
        mean = x[of_user == user].mean(axis=0)
        spread = float(mean @ gate.covariance @ mean) + gate.user_variance
        gain = float(mean @ gate.weights)
        lost += NormalDist().cdf(-gain / spread**0.5) if spread > 0 else float(gain < 0)
    return lost


def _read_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a gate is made of, of the values of its file."""
    read = {
        name: np.array(value, dtype=float)
        for name, value in values.items()
        if isinstance(value, list) and name != "names"
    }
    return {
        **values,
        **read,
        "names": tuple(values["names"]),
        "bar": float("inf") if values["bar"] is None else values["bar"],
    }
