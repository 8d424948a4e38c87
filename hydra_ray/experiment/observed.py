"""Completions that were served in an experiment, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Names = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Observed:
    """Completions, one a row.

    Attributes:
        users: Number of the user of each; what one user gets is alike, so users are what is counted.
        arms: Arm that answered each.
        propensities: Probability with which each was answered by its arm, above 0. Weighting by 1 over it undoes that
            shares were changed while the experiment ran (Horvitz and Thompson, 1952).
        values: Numbers by measure, one a completion; not a number where a completion has none.
    """

    users: Numbers
    arms: Names
    propensities: Array
    values: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.users)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Observed:
        """Return only some of the completions.

        Args:
            chosen: Whether to take each, shape (completions,).
        """
        values = {name: column[chosen] for name, column in self.values.items()}
        return Observed(self.users[chosen], self.arms[chosen], self.propensities[chosen], values)
