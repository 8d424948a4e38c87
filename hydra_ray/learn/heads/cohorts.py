"""Cohorts as a base keeps them, and which one a user belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from hydra_ray.models.features import UserFeatures
from hydra_ray.models.losses import TEMPERATURE, group_log_softmax


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Clusters of tastes and names of amounts of data, which together say each user's cohort.

    Attributes:
        centroids: Centroids of the clusters, shape (clusters, width), float32.
        amounts: Names of amounts, and the groups a user has from there on.
    """

    centroids: np.ndarray
    amounts: Mapping[str, int]

    def of(self, features: UserFeatures) -> str:
        """Return a user's cohort, `<cluster>-<amount>`, whether they were there when cohorts were found or not."""
        distances = np.linalg.norm(self.centroids - user_vector(features), axis=1)
        known = len(features.sizes)
        amount = max((start, name) for name, start in self.amounts.items() if start <= known)[1]
        return f"{int(distances.argmin())}-{amount}"


def user_vector(features: UserFeatures) -> np.ndarray:
    """Return the mean feature of what a user preferred, of length 1, shape (width,), float32."""
    group = torch.arange(len(features.sizes)).repeat_interleave(features.sizes)
    share = group_log_softmax(features.scores / TEMPERATURE, group).exp()
    mean = (share.unsqueeze(1) * features.z.float()).sum(0)
    return torch.nn.functional.normalize(mean, dim=0).numpy()
