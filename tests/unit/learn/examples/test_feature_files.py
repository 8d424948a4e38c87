import math
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.examples.features import encode_all, read_features, write_features
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.features import UserFeatures
from hydra_ray.records import UserKey

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
TENSORS = ("z", "sizes", "scores", "priors")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
half = st.floats(width=16, allow_nan=False, allow_infinity=False)
single = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def any_features(draw):
    width = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    count = sum(sizes)

    def numbers(values, size):
        return torch.tensor(draw(st.lists(values, min_size=size, max_size=size)))

    return UserFeatures(
        numbers(half, count * width).view(count, width).half(),
        torch.tensor(sizes),
        numbers(single, count),
        numbers(single | st.just(-math.inf), count),
        tuple(draw(st.lists(texts, min_size=len(sizes), max_size=len(sizes)))),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def decisions(monkeypatch):
    """Texts that the encoder read."""
    encode, read = TextsEncoder._tokens, []

    def noting(self, texts):
        read.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(TextsEncoder, "_tokens", noting)
    return read


def group(user, film, *labels, query="q", priors=()):
    decisions = tuple((label, film, ("drama", "comedy")) for label in labels)
    key = ExampleKey(*user, query, pseudo=False)
    return RankingGroup(key, decisions, tuple(float(place == 0) for place in range(len(labels))), priors)


def test_a_file_that_names_queries_instead_of_items_reads_the_same(folder):
    scores = torch.tensor([1.0, 0.0, 0.5])
    one = UserFeatures(torch.ones(3, 1).half(), torch.tensor([2, 1]), scores, scores, ("f1", "q@query"))
    write_features(folder / "before.parquet", [(ANN, one)])
    table = pq.read_table(folder / "before.parquet").drop_columns("evidence_ids")
    pq.write_table(table.append_column("queries", pa.array([["f1@pseudo", "q"]])), folder / "before.parquet")
    ((key, found),) = read_features(folder / "before.parquet")
    assert (key, found.observation_ids, found.sizes.tolist()) == (ANN, ("f1", "q@query"), [2, 1])


@given(users=st.lists(st.tuples(st.builds(UserKey, texts, texts), any_features()), max_size=5))
def test_any_features_come_back_as_they_were_in_the_users_order(folder, users):
    write_features(folder / "any.parquet", users)
    read = list(read_features(folder / "any.parquet"))
    assert [key for key, _ in read] == [key for key, _ in users]
    for (_, found), (_, written) in zip(read, users, strict=True):
        for name in TENSORS:
            assert_close(getattr(found, name), getattr(written, name), atol=0, rtol=0)
        assert found.observation_ids == written.observation_ids


def test_more_users_than_a_block_come_back(folder, scorer):
    (features,) = encode_all(scorer(), [[group(ANN, "a film", "drama", "comedy")]])
    keys = [UserKey("acme", f"user {number}") for number in range(150)]
    write_features(folder / "many.parquet", ((key, features) for key in keys))
    assert [key for key, _ in read_features(folder / "many.parquet")] == keys


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, scorer, monkeypatch):
    (features,) = encode_all(scorer(), [[group(ANN, "a film", "drama", "comedy")]])
    path = tmp_path / "shards" / "one.parquet"
    write_features(path, [(ANN, features)])

    def die(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("os.replace", die)
        with pytest.raises(KeyboardInterrupt):
            write_features(path, [(BOB, features)])
    assert [key for key, _ in read_features(path)] == [ANN]
    write_features(path, [(BOB, features)])
    assert [key for key, _ in read_features(path)] == [BOB]
    assert os.listdir(path.parent) == ["one.parquet"]


def test_features_are_of_each_users_own_groups(scorer):
    model = scorer()
    groups = [
        [group(ANN, "two cats", "drama", "comedy", query="q1"), group(ANN, "a king", "sci-fi", "drama", query="q2")],
        [group(BOB, "two cats", "comedy", "drama", "sci-fi", query="q1", priors=(-1.0, -math.inf, 0.0))],
    ]
    for features, own in zip(encode_all(model, groups), groups, strict=True):
        z = model.encoder.features([texts for one in own for texts in one.decisions])
        # Kept in half precision.
        assert_close(features.z, z.half(), atol=2e-3, rtol=2e-3)
        assert features.sizes.tolist() == [len(one.decisions) for one in own]
        assert features.scores.tolist() == [score for one in own for score in one.scores]
        assert features.observation_ids == tuple(f"{one.key.query_id}@query" for one in own)


def test_what_is_not_known_of_a_group_is_zero_and_what_cannot_be_chosen_stays_so(scorer, tmp_path):
    known, unknown = group(ANN, "a film", "a", "b", priors=(-0.5, -math.inf)), group(ANN, "a film", "a", "b", "c")
    (features,) = encode_all(scorer(), [[known, unknown]])
    write_features(tmp_path / "one.parquet", [(ANN, features)])
    ((_, read),) = read_features(tmp_path / "one.parquet")
    assert features.priors.tolist() == read.priors.tolist() == [-0.5, -math.inf, 0, 0, 0]


def test_each_distinct_text_is_encoded_once_for_all_users(scorer, decisions):
    labels = ("drama", "comedy", "sci-fi")
    groups = [[group(user, film, *labels) for film in ("two cats", "a king")] for user in (ANN, BOB)]
    encode_all(scorer(), groups)
    read = [text for text in decisions if text]
    assert sorted(read) == sorted({*labels, "two cats", "a king"})
