"""The folder of feedback by itself."""

import pytest

from hydra_ray.learn.collect.rows import AdapterRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.records import HydraError


@pytest.fixture
def store(tmp_path):
    return FeedbackStore(tmp_path / "feedback")


def test_no_feedback_is_empty(store):
    assert (store.parts(), store.done(), store.read(AdapterRow)) == ([], set(), [])


def test_feedback_of_other_settings_is_refused_and_named(store):
    collection_settings = {"generator.model": "m", "method.shots": 4, "method.greedy": True}
    store.keep_to(collection_settings)
    store.keep_to(collection_settings)
    with pytest.raises(
        HydraError, match=r"\(method\.shots was 4 and is 2; method\.greedy was True and is False\): set"
    ):
        store.keep_to({"generator.model": "m", "method.shots": 2, "method.greedy": False})


@pytest.mark.parametrize("before", [{}, {"method.rerank": True}])
def test_feedback_for_a_reranker_serves_without_one_and_is_not_whole_once_some_is_without(store, before):
    with_one, without = {"method.shots": 4, "method.rerank": True}, {"method.shots": 4, "method.rerank": False}
    # As it was written before one could do without.
    store.keep_to({"method.shots": 4, **before})
    store.keep_to(without)
    store.keep_to(with_one)
    store.note_added(with_one)
    store.keep_to(with_one)
    store.note_added(without)
    store.keep_to(without)
    with pytest.raises(HydraError, match=r"\(method\.rerank was False and is True\): set feedback\.dir"):
        store.keep_to(with_one)
