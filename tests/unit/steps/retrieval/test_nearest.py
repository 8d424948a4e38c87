import sys
from typing import ClassVar

import faiss
import numpy as np
import pytest

from hydra_ray.records import HydraError
from hydra_ray.steps.retrieval import nearest
from hydra_ray.steps.retrieval.nearest import NearestIndex, load_faiss


@pytest.fixture
def vectors():
    drawn = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_the_nearest_are_exactly_those_of_the_highest_cosines(vectors):
    query = vectors[7]
    cosines, rows = NearestIndex(vectors, "x").search(query, 5)
    right = np.argsort(-(vectors @ query))[:5]
    assert rows.tolist() == right.tolist()
    assert cosines == pytest.approx((vectors @ query)[right], abs=1e-6)


@pytest.mark.parametrize(("k", "count"), [(0, 0), (50, 50), (80, 50)])
def test_no_more_is_found_than_there_is(vectors, k, count):
    cosines, rows = NearestIndex(vectors, "x").search(vectors[0], k)
    assert len(cosines) == len(set(rows.tolist())) == count


def test_vectors_can_be_had_back_by_row(vectors):
    assert np.array_equal(NearestIndex(vectors, "x").vectors(np.array([3, 1])), vectors[[3, 1]])


def test_a_missing_faiss_is_told_with_what_to_install(monkeypatch, vectors):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(HydraError, match=r"peers are found with faiss: install hydra-ray\[faiss-cpu\] or"):
        NearestIndex(vectors, "peers are found")
    with pytest.raises(HydraError, match="cohorts"):
        load_faiss("cohorts are found")


def test_vectors_are_held_once(vectors):
    assert np.shares_memory(NearestIndex(vectors, "x")._vectors, vectors)
    # Unless faiss could not read them as they are.
    assert NearestIndex(vectors[:, ::2], "x").vectors(np.array([3])).tolist() == [vectors[3, ::2].tolist()]


class OnGpu:
    """An index on a GPU that is not there, as far as callers can tell: it has a copy of what is added."""

    made: ClassVar[list["OnGpu"]] = []

    def __init__(self, resources, width):
        assert resources.scratch <= 1 << 30
        self._index, self.searches = faiss.IndexFlatIP(width), 0
        self.made.append(self)

    def add(self, vectors):
        self._index.add(vectors)

    def search(self, vectors, k):
        assert k <= 2048, "faiss refuses more on GPUs"
        self.searches += 1
        return self._index.search(vectors, k)


class Resources:
    def setTempMemory(self, size):  # noqa: N802
        self.scratch = size


@pytest.fixture
def gpu(monkeypatch):
    """Indexes put on a GPU that is not there."""
    monkeypatch.setattr(OnGpu, "made", [])
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexFlatIP", OnGpu, raising=False)
    nearest._gpu_resources.cache_clear()
    yield OnGpu.made
    nearest._gpu_resources.cache_clear()


def test_many_vectors_are_searched_on_the_gpu_and_few_are_not(gpu, monkeypatch, vectors):
    NearestIndex(vectors, "x").search(vectors[0], 3)
    assert gpu == []
    monkeypatch.setattr(nearest, "_WORTH_A_GPU", 50)
    index = NearestIndex(vectors, "x")
    cosines, rows = index.search(vectors[0], 3)
    assert [index.searches for index in gpu] == [1]
    assert rows.tolist() == np.argsort(-(vectors @ vectors[0]))[:3].tolist()
    assert cosines[0] == pytest.approx(1, abs=1e-6)
    assert np.array_equal(index.vectors(rows), vectors[rows])


def test_a_gpu_is_never_asked_for_more_than_it_gives(gpu):
    many = np.ones((20_000, 1), np.float32)
    assert len(NearestIndex(many, "x").search(many[0], 20_000)[1]) == 2048
    assert gpu[0].searches == 1


def test_a_gpu_finds_what_the_processor_finds(monkeypatch):
    if getattr(faiss, "get_num_gpus", lambda: 0)() < 1:
        pytest.skip("this faiss finds no GPU")
    drawn = np.random.default_rng(1).normal(size=(30_000, 384)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    on_gpu = NearestIndex(drawn, "x")
    monkeypatch.setattr(nearest, "_WORTH_A_GPU", len(drawn) + 1)
    on_processor = NearestIndex(drawn, "x")
    assert on_gpu._on_gpu is not None
    assert on_processor._on_gpu is None
    for query in drawn[:20]:
        cosines, rows = on_gpu.search(query, 50)
        right, right_rows = on_processor.search(query, 50)
        assert cosines == pytest.approx(right, abs=1e-5)
        # Two that are as near may change places.
        assert drawn[rows] @ query == pytest.approx(drawn[right_rows] @ query, abs=1e-5)
        assert rows[0] == right_rows[0]
