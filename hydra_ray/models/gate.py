"""The gate: how much better hydra's choice can be expected to be than a plain method's answer, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hydra_ray.records import HydraError

FILE = "gate.json"
_SCHEMA = "hydra-ray/gate/v2"
# A gate of this form held each request to its lower bound, by the normal distribution.
_FIRST_SCHEMA = "hydra-ray/gate/v1"

Array = npt.NDArray[np.float64]


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
        sureness: Standard deviations from an expected gain down to its lower bound.
        by_low: Whether the lower bound of a request's gain is held against the bar, as it is in gates of the first
            form; else the expected gain.
        bar: What that has to be above; infinite where nothing passes.
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
    sureness: float
    by_low: bool
    bar: float

    @property
    def is_closed(self) -> bool:
        """Whether it lets nothing through: too little is known, or too little is gained."""
        return self.bar == float("inf")

    def expected(self, features: Sequence[float]) -> ExpectedGain:
        """Return the gain that a request with these features can be expected to bring."""
        # A line goes on beyond all that was seen in training, what is known does not: the farthest counts that was.
        read = np.clip((np.array(features, dtype=float) - self.centre) / self.scale, self.least, self.most)
        x = np.concatenate([[1.0], read])
        mean, variance = float(x @ self.weights), float(x @ self.covariance @ x)
        return ExpectedGain(mean, mean - self.sureness * max(0.0, variance) ** 0.5)

    def passes(self, gain: ExpectedGain) -> bool:
        """Return whether hydra's choice is answered."""
        return (gain.low if self.by_low else gain.mean) > self.bar

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
            if (schema := values.pop("schema")) == _FIRST_SCHEMA:
                # It goes on deciding as it did.
                values |= {"sureness": NormalDist().inv_cdf(values["caution"]), "by_low": True}
            elif schema != _SCHEMA:
                raise HydraError(f"{path}: schema is {schema!r}, not {_SCHEMA!r}; train again")
            return cls(**_read_values(values))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HydraError(f"{path}: damaged: {' '.join(str(error).split())}; train again") from None


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
