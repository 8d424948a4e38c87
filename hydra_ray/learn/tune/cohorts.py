"""Groups of users who may want different heads: clusters of tastes crossed with how much they have told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hydra_ray.learn.tune.space import CohortRules
from hydra_ray.models.features import UserFeatures
from hydra_ray.models.losses import TEMPERATURE, group_log_softmax
from hydra_ray.steps.retrieval.nearest import load_faiss


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Cohorts as they were found.

    Attributes:
        centroids: Of the clusters, shape (clusters, width), float32.
        amounts: As `CohortRules.amounts`.
    """

    centroids: np.ndarray
    amounts: Mapping[str, int]

    def of(self, features: UserFeatures) -> str:
        """The cohort of a user, whether they were there when cohorts were found or not: `<cluster>-<amount>`."""
        distances = np.linalg.norm(self.centroids - user_vector(features), axis=1)
        told = len(features.sizes)
        amount = max((start, name) for name, start in self.amounts.items() if start <= told)[1]
        return f"{int(distances.argmin())}-{amount}"


def user_vector(features: UserFeatures) -> np.ndarray:
    """The mean feature of what a user preferred, of unit length, shape (width,), float32."""
    group = torch.arange(len(features.sizes)).repeat_interleave(features.sizes)
    share = group_log_softmax(features.scores / TEMPERATURE, group).exp()
    mean = (share.unsqueeze(1) * features.z.float()).sum(0)
    return torch.nn.functional.normalize(mean, dim=0).numpy()


def find_cohorts(users: Sequence[UserFeatures], rules: CohortRules, seed: int) -> Cohorts:
    """Clusters users by faiss k-means, on GPUs where faiss finds any.

    Raises:
        HydraError: faiss is not installed.
    """
    vectors = np.stack([user_vector(one) for one in users])
    clusters = min(rules.clusters, len(vectors))
    if clusters == 1:
        return Cohorts(vectors.mean(axis=0, keepdims=True), rules.amounts)
    faiss = load_faiss("cohorts are found")
    gpu = getattr(faiss, "get_num_gpus", lambda: 0)() > 0
    # faiss warns below 39 vectors a centroid; few users are what the rule of least users is for.
    kmeans = faiss.Kmeans(vectors.shape[1], clusters, niter=25, nredo=5, seed=seed, gpu=gpu, min_points_per_centroid=1)
    kmeans.train(vectors)
    return Cohorts(np.asarray(kmeans.centroids, np.float32), rules.amounts)


def searched_cohorts(names: Sequence[str], rules: CohortRules) -> list[str]:
    """Cohorts that are large enough to be searched, the largest first."""
    counts = Counter(names).most_common(rules.most)
    return [name for name, count in counts if count >= rules.min_users]
