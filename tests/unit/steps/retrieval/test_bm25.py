"""An index over documents that come and go scores as the package bm25s does over those that are there."""

import logging

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.steps.retrieval.bm25 import Bm25

words = st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"])
documents = st.lists(st.lists(words, max_size=8), max_size=12)
# Which of the documents stay, as far as there are as many, and which come.
changes = st.lists(st.tuples(st.none() | st.lists(st.booleans(), min_size=80, max_size=80), documents), max_size=8)
queries = st.lists(words | st.just("never"), max_size=6)


@pytest.fixture(scope="module", autouse=True)
def quiet():
    logging.getLogger("bm25s").setLevel(logging.WARNING)


def package(there, query):
    if not any(there) or not query:
        return np.zeros(len(there), np.float32)
    index = bm25s.BM25()
    index.index([list(document) for document in there], show_progress=False)
    return index.get_scores(list(query))


def same(index, there, query):
    found = index.scores(query)
    assert found.dtype == np.float32
    # To the bit: what is equally good must stay so.
    assert found.tolist() == package(there, query).tolist()


@given(there=documents, query=queries)
def test_scores_are_those_of_the_package(there, query):
    same(Bm25(there), there, query)


@given(there=documents, steps=changes, query=queries)
def test_after_any_changes_scores_are_those_of_an_index_made_anew(there, steps, query):
    index = Bm25(there)
    for stays, added in steps:
        left = None if stays is None else np.array(stays[: len(there)], bool)
        before, had = index, list(there)
        there = [one for row, one in enumerate(there) if left is None or left[row]] + added
        index = index.changed(left, added)
        assert len(index) == len(there)
        same(index, there, query)
        # Whoever still holds the former one gets what was there.
        same(before, had, query)


def test_many_single_additions_and_removals_stay_few_segments():
    draw = np.random.default_rng(0)
    there = [list(map(str, draw.integers(0, 30, 5))) for _ in range(500)]
    index = Bm25(there)
    for number in range(400):
        document = list(map(str, draw.integers(0, 30, 5)))
        left = np.ones(len(there), bool)
        if number % 3 == 0:
            left[draw.integers(len(there))] = False
        there = [one for row, one in enumerate(there) if left[row]] + [document]
        index = index.changed(left, [document])
    same(index, there, ["1", "2", "29"])
    assert len(index._segments) <= 10
    assert len(index._kept) <= 1.2 * len(there)


def test_an_index_is_as_large_as_what_it_holds():
    one, ten = (Bm25([["a", "b", str(number)] for number in range(count)]) for count in (1_000, 10_000))
    assert 5 * one.nbytes < ten.nbytes < 20 * one.nbytes
    without = ten.changed(np.arange(10_000) < 1_000, [])
    # Names of words that no document has any more stay for a while.
    assert without.nbytes < ten.nbytes
