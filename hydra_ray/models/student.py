"""Student's t distribution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# From here on it is the normal distribution, to three digits.
_MOST_DEGREES = 1000


class StudentT:
    """Student's t distribution: how far a mean may be off whose spread is known by a few observations only.

    With t = sqrt(degrees) * tan(angle) its density over the angle is cos(angle)^(degrees - 1), up to a constant.

    Args:
        degrees: Degrees of freedom, at least 1.
    """

    def __init__(self, degrees: int) -> None:
        degrees = min(degrees, _MOST_DEGREES)
        self._angles = np.linspace(-np.pi / 2, np.pi / 2, 4001)
        density = np.cos(self._angles) ** (degrees - 1)
        below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
        self._below = below / below[-1]
        self._scale = float(np.sqrt(degrees))

    def cdf(self, values: Array) -> Array:
        """Return the probability of less than each value."""
        return np.interp(np.arctan(values / self._scale), self._angles, self._below)

    def quantile(self, probability: float) -> float:
        """Return the value below which there is this probability."""
        return float(self._scale * np.tan(np.interp(probability, self._below, self._angles)))
