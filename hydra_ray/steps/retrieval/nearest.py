"""Exact search for the nearest of many vectors, with faiss."""

from __future__ import annotations

from functools import cache, partial
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from hydra_ray.records import HydraError
from hydra_ray.steps.retrieval.embed import Vectors

# One user's history is searched sooner than it is copied to a GPU, and each process would hold memory there.
_WORTH_A_GPU = 20_000
# The most that faiss returns from a GPU.
_GPU_MOST = 2048
# Scratch memory; by default faiss takes 1.5 GiB, which an LLM on the same GPU would miss.
_GPU_SCRATCH = 64 << 20
# Indexes on one GPU share resources that are not safe in several threads.
_GPU_LOCK = Lock()


def load_faiss(purpose: str) -> Any:
    """Import faiss and return the module.

    Args:
        purpose: Beginning of the error's message, which says what faiss is wanted for.

    Raises:
        HydraError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError:
        message = f"{purpose} with faiss: install hydra-ray[faiss-cpu] or hydra-ray[faiss-gpu]"
        raise HydraError(message) from None
    return faiss


class NearestIndex:
    """Unit-length vectors searched by cosine: exactly, by faiss, on a GPU where faiss finds one and there are many.

    The vectors stay where they are, and nobody may change them afterwards. A GPU has a copy, of 4 bytes an entry
    (1.5 KB a vector of width 384). Any thread may search.

    Args:
        vectors: Shape (vectors, width), float32.
        purpose: Beginning of the error's message, which says what faiss is wanted for.

    Raises:
        HydraError: faiss is not installed.
    """

    def __init__(self, vectors: Vectors, purpose: str) -> None:
        faiss = load_faiss(purpose)
        # faiss's flat index of processors would hold them once more, and search them by the same function.
        self._vectors = np.ascontiguousarray(vectors, np.float32)
        self._search = partial(faiss.knn, metric=faiss.METRIC_INNER_PRODUCT)
        self._on_gpu = None
        if len(vectors) >= _WORTH_A_GPU and getattr(faiss, "get_num_gpus", lambda: 0)() > 0:
            with _GPU_LOCK:
                self._on_gpu = faiss.GpuIndexFlatIP(_gpu_resources(), vectors.shape[1])
                self._on_gpu.add(self._vectors)

    def search(self, vector: Vectors, k: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """Return cosines and rows of the k nearest, best first; fewer where there are fewer, on a GPU 2,048 at most."""
        size = len(self._vectors)
        k = min(k, size, size if self._on_gpu is None else _GPU_MOST)
        if k < 1:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        if self._on_gpu is None:
            scores, rows = self._search(vector[None], self._vectors, k)
        else:
            with _GPU_LOCK:
                scores, rows = self._on_gpu.search(vector[None], k)
        return scores[0], rows[0]

    def vectors(self, rows: npt.NDArray[np.int64]) -> Vectors:
        """The vectors of some rows, shape (rows, width)."""
        return self._vectors[rows]


@cache
def _gpu_resources() -> Any:
    resources = load_faiss("vectors are searched").StandardGpuResources()
    resources.setTempMemory(_GPU_SCRATCH)
    return resources
