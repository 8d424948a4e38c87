"""Groups of users who may want different heads: clusters of tastes crossed with how much they have told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from hydra_ray.learn.heads.cohorts import Cohorts, user_vector
from hydra_ray.learn.tune.space import CohortRules
from hydra_ray.models.features import UserFeatures
from hydra_ray.steps.retrieval.nearest import load_faiss


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
