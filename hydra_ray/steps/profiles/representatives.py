"""Chooses the few of many people's texts that stand for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hydra_ray.records import PeerItem
from hydra_ray.steps.retrieval.embed import Embed
from hydra_ray.steps.retrieval.nearest import load_faiss

_STEPS, _STARTS = 25, 3


def representatives(own: str, peers: Sequence[PeerItem], k: int, embed: Embed, seed: int) -> list[PeerItem]:
    """Return at most k peers, each nearest to the centre of a cluster who answered alike, and unlike the user.

    k-means over the peers' outputs and the user's own, in k + 1 clusters (DPL, arXiv 2503.02450): the cluster that
    the user is in is dropped, of each other one the peer nearest its centroid stays. Where there are no more than k
    peers, all stay. Those who all answered exactly as the user leave nobody.

    Args:
        own: The user's output.
        peers: One item each of several users.
        k: Most peers returned.
        embed: Gives texts' vectors, of length 1.
        seed: Seed that k-means starts from.

    Returns:
        Peers in their given order.

    Raises:
        HydraError: faiss is not installed.
    """
    if len(peers) <= k:
        return list(peers)
    vectors = np.ascontiguousarray(embed([own, *(peer.item.output for peer in peers)]), np.float32)
    distances, clusters = _cluster(vectors, k + 1, seed)
    nearest = {
        cluster: min(np.flatnonzero(clusters == cluster), key=lambda row: distances[row])
        for cluster in set(clusters.tolist()) - {clusters[0].item()}
    }
    return [peers[row - 1] for row in sorted(nearest.values())]


def _cluster(vectors: npt.NDArray[np.float32], clusters: int, seed: int) -> tuple[npt.NDArray, npt.NDArray]:
    """Each vector's squared distance to its centroid and the number of its cluster, shapes (vectors,)."""
    faiss = load_faiss("peers are clustered")
    # faiss warns below 39 vectors a centroid; here few people answer the same.
    options = {"niter": _STEPS, "nredo": _STARTS, "seed": seed, "min_points_per_centroid": 1}
    kmeans = faiss.Kmeans(vectors.shape[1], clusters, **options)
    kmeans.train(vectors)
    distances, places = kmeans.index.search(vectors, 1)
    return distances[:, 0], places[:, 0]
