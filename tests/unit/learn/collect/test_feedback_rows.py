"""Rows of feedback and their keys: whatever they hold comes back from disk, and no id is taken for what it is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.learn.collect.labeler import CollectedFeedback
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.rows import AdapterRow, ExampleKey, ExampleRow, RerankerRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.records import Query, Source, UserKey

ANN = UserKey("acme", "ann")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ids = texts | texts.map(lambda text: f"{text}@pseudo")
keys = st.builds(ExampleKey, texts, texts, ids, st.booleans())
single = st.floats(width=32, allow_nan=False)
votes = st.integers(0, 2**31 - 1)


def tuples(values):
    return st.lists(values, max_size=4).map(tuple)


reranker_rows = st.builds(RerankerRow, keys, texts, texts, texts, texts, single, single)
sources = tuples(tuples(st.builds(Source, texts, votes, st.booleans())))
adapter_rows = st.builds(
    AdapterRow, keys, texts, texts, tuples(texts), tuples(texts), tuples(votes), tuples(single), sources
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return FeedbackStore(tmp_path_factory.mktemp("feedback"))


@given(reranker=st.lists(reranker_rows, max_size=4), adapter=st.lists(adapter_rows, max_size=4))
def test_any_rows_come_back_from_disk_and_from_another_process(store, reranker, adapter):
    feedback = CollectedFeedback(reranker, adapter)
    example = Example(Query("q", ANN, "a film"), "drama", (), pseudo=False)
    store.write(0, [(example.key, feedback)])
    for written in (reranker, adapter):
        for kind in {type(row) for row in written}:
            assert store.read(kind) == sorted(written, key=lambda row: row.example_id)
    assert store.read(ExampleRow) == [ExampleRow("acme", "ann", "q", 0)]
    assert CollectedFeedback.from_json(json.loads(json.dumps(feedback.to_json()))) == feedback


@given(user=st.builds(UserKey, texts, texts), item=ids)
def test_an_item_asked_again_is_known_by_its_own_id(user, item):
    key = ExampleKey.of_item(user, item)
    assert (key.owner, key.pseudo, key.item_id, key.observation_id) == (user, True, item, item)
    assert key.query_id == f"{item}@pseudo", "seeds and answers that are kept hang on it"
    assert ExampleKey.of_bare_id(user, key.query_id) == key


@given(query=ids)
def test_a_real_query_is_no_item_whatever_its_id_ends_with(query):
    key = Example(Query(query, ANN, "a film"), "drama", (), pseudo=False).key
    assert (key.query_id, key.pseudo, key.item_id) == (query, False, None)
    assert key.observation_id == f"{query}@query", "it may have the id of an item"


@pytest.mark.parametrize(
    ("score_with", "score_without", "helped"), [(1, 0, True), (0.5, 0.2, True), (1, 1, True), (0.5, 0.5, False)]
)
def test_an_item_helped_that_bettered_the_answer_or_left_a_right_one_right(score_with, score_without, helped):
    row = RerankerRow(ExampleKey.of_item(ANN, "1"), "a film", "2", "two cats", "comedy", score_with, score_without)
    assert row.helped == helped
