"""A folder of feedback as it has always been on disk: it reads as before, and teaches what it taught before."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.fingerprint import fingerprint
from hydra_ray.learn.base.rows import group_rows
from hydra_ray.learn.collect.labeler import CollectedFeedback
from hydra_ray.learn.collect.plan import pseudo_example
from hydra_ray.learn.collect.rows import AdapterRow, ExampleKey, ExampleRow, RerankerRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.learn.examples.training_data import load_training_data
from hydra_ray.models.base import ADAPTER, RERANKER, ROLES
from hydra_ray.records import HistoryItem, Query, Source, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.steps.generate.failures import Failure
from hydra_ray.tasks import Task

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
TASK = Task(name="tag", kind="classification", labels=("comedy", "drama", "sci-fi"))

# Units come in any order, and a query's items in the retriever's.
UNITS = {
    "tenant": ["acme", "acme", "acme"],
    "user": ["bob", "ann", "ann"],
    "query_id": ["f1@pseudo", "q1", "f2@pseudo"],
    "failed_calls": [0, 1, 0],
}
RERANKER_COLUMNS = {
    "tenant": ["acme"] * 5,
    "user": ["bob", "ann", "ann", "ann", "ann"],
    "query_id": ["f1@pseudo", "q1", "q1", "f2@pseudo", "f2@pseudo"],
    "query": ["a robot weeps", "a robot in love", "a robot in love", "a king weeps", "a king weeps"],
    "pseudo": [True, False, False, True, True],
    "item_id": ["f0", "f2", "f1", "f1", "f0"],
    "item_input": ["two cats", "a king weeps", "a robot falls", "a robot falls", "a dog"],
    "item_output": ["comedy", "drama", "comedy", "comedy", "sci-fi"],
    "score_with": [1.0, 0.1, 0.7, 0.0, 1.0],
    "score_without": [0.0, 0.3, 0.3, 0.0, 0.0],
}
ADAPTER_COLUMNS = {
    "tenant": ["acme"] * 3,
    "user": ["bob", "ann", "ann"],
    "query_id": ["f1@pseudo", "q1", "f2@pseudo"],
    "query": ["a robot weeps", "a robot in love", "a king weeps"],
    "pseudo": [True, False, True],
    "gold": ["drama", "comedy", "drama"],
    "history": [["comedy"], ["drama", "comedy"], []],
    "candidates": [["drama", "comedy"], ["sci-fi", "comedy", "drama"], ["drama"]],
    "votes": [[3, 1], [1, 2, 1], [4]],
    "scores": [[1.0, 0.0], [0.1, 1.0, 0.7], [1.0]],
}
TYPES = {
    "pseudo": pa.bool_(),
    "failed_calls": pa.int32(),
    "score_with": pa.float32(),
    "score_without": pa.float32(),
    "history": pa.list_(pa.string()),
    "candidates": pa.list_(pa.string()),
    "votes": pa.list_(pa.int32()),
    "scores": pa.list_(pa.float32()),
}
# What these files came to when their rows were plain dicts.
MARKS = {
    RERANKER: ["cea151f4c8f4ddbcbfb1d647", "07c2741d2702f23af2df74e7"],
    ADAPTER: ["e9bada61217f89be2dde7f93", "c42356553b64bff6040572b3"],
}
GROUP_DIGESTS = {RERANKER: "a8ed1488dec2e2e931f7ae06", ADAPTER: "e7ebe97b3c45c05337d864cd"}
FILES = {"units": UNITS, "reranker": RERANKER_COLUMNS, "adapter": ADAPTER_COLUMNS}


def schema(columns):
    return pa.schema([(name, TYPES.get(name, pa.string())) for name in columns])


@pytest.fixture
def settings(tmp_path):
    settings = parse_settings(
        {
            "out": str(tmp_path),
            "seed": 3,
            "users": "train",
            "feedback": {"own_answers": 5},
            "base": {"loss": "listwise"},
            "method": {"retriever": "bm25", "evidence": 24},
        }
    )
    settings.feedback_dir.mkdir(parents=True)
    for name, columns in FILES.items():
        pq.write_table(pa.table(columns, schema=schema(columns)), settings.feedback_dir / f"00000.{name}.parquet")
    return settings


@pytest.fixture
def dataset():
    def user(key, *films):
        return User(
            key,
            tuple(HistoryItem(f"f{place}", *film, ts=str(2000 + place)) for place, film in enumerate(films)),
            (Query("q1" if key == ANN else "q2", key, "a robot in love"),),
        )

    ann = user(ANN, ("a dog", "sci-fi"), ("a robot falls", "comedy"), ("a king weeps", "drama"))
    bob = user(BOB, ("two cats", "comedy"), ("a robot weeps", "drama"))
    return Dataset((ann, bob), {"q1": "comedy", "q2": "drama"})


@pytest.mark.parametrize("kind", [RerankerRow, AdapterRow, ExampleRow])
def test_rows_are_the_columns_that_were_written(settings, kind):
    written = pq.read_table(settings.feedback_dir / f"00000.{kind.NAME}.parquet").to_pylist()
    # By user and query, and of one query as they stand in the file.
    written.sort(key=lambda row: (row["tenant"], row["user"], row["query_id"]))
    found = [row.to_columns() for row in FeedbackStore(settings.feedback_dir).read(kind)]
    assert found == written
    assert {tuple(row) for row in found} == {tuple(FILES[kind.NAME])}, "marks are made of columns in this order"


def test_a_row_says_whose_it_is_and_whether_its_query_is_an_item_asked_again(settings):
    rows = FeedbackStore(settings.feedback_dir).read(AdapterRow, [ANN])
    assert [(row.key, row.key.owner, row.key.item_id) for row in rows] == [
        (ExampleKey("acme", "ann", "f2@pseudo", pseudo=True), ANN, "f2"),
        (ExampleKey("acme", "ann", "q1", pseudo=False), ANN, None),
    ]


def test_what_is_written_now_has_the_same_columns(settings, dataset, tmp_path):
    before = FeedbackStore(settings.feedback_dir)
    example = pseudo_example(dataset.users[0], 2)
    feedback = CollectedFeedback(
        before.read(RerankerRow), before.read(AdapterRow), failed=Counter({Failure("refused", "no"): 2})
    )
    FeedbackStore(tmp_path / "now").write(0, [(example.key, feedback)])
    for name, columns in FILES.items():
        found = pq.read_table(tmp_path / "now" / f"00000.{name}.parquet")
        assert found.schema == schema(columns)
    assert FeedbackStore(tmp_path / "now").read(ExampleRow) == [ExampleRow("acme", "ann", "f2@pseudo", 2)]
    for kind in (RerankerRow, AdapterRow):
        assert FeedbackStore(tmp_path / "now").read(kind) == before.read(kind)


def test_columns_that_came_later_are_there_where_something_is_in_them_and_earlier_versions_read_the_rest(
    settings, dataset, tmp_path
):
    mixed, plain = (
        AdapterRow(ExampleKey("acme", name, "q1", pseudo=False), "a film", "drama", (), ("drama",), (2,), (1.0,), known)
        for name, known in (("ann", ((Source("recent", 2, greedy=True),),)), ("bob", ()))
    )
    store = FeedbackStore(tmp_path / "now")
    store.write(0, [(mixed.key, CollectedFeedback(adapter=[mixed, plain]))])
    store.write(1, [(plain.key, CollectedFeedback(adapter=[plain]))])
    assert store.read(AdapterRow) == [mixed, plain, plain]
    files = [tmp_path / "now" / f"0000{part}.adapter.parquet" for part in (0, 1)]
    assert [pq.read_schema(file).names == [*ADAPTER_COLUMNS, "sources"] for file in files] == [True, False]
    then = pq.read_table(files[0], schema=schema(ADAPTER_COLUMNS)).to_pylist()
    assert [row["votes"] for row in then] == [[2], [2]]
    assert "sources" not in plain.to_columns(), "what it teaches has the fingerprint that it had"


def test_what_was_finished_is_not_asked_again(settings):
    done = {("acme", "bob", "f1@pseudo"), ("acme", "ann", "q1"), ("acme", "ann", "f2@pseudo")}
    assert FeedbackStore(settings.feedback_dir).done() == done


def test_it_teaches_what_it_taught(settings, dataset):
    feedback = load_training_data(settings, TASK, dataset, None)
    found = {role: {user.key.user: feedback.groups(role, user) for user in dataset.users} for role in ROLES}
    assert [group.scores for group in found[RERANKER]["ann"]] == [(0.0, 1.0), pytest.approx((0.1, 0.7))]
    assert [group.scores for group in found[ADAPTER]["ann"]][-1] == pytest.approx((0.1, 1.0, 0.7))
    # Heads whose marks are the same are not fitted again, nor is a base's training begun anew on the same groups.
    marks = {role: [feedback.fingerprint(role, user) for user in dataset.users] for role in ROLES}
    rows = {role: group_rows([one for own in found[role].values() for one in own], [ANN, BOB]) for role in ROLES}
    assert (marks, {role: fingerprint(rows[role]) for role in ROLES}) == (MARKS, GROUP_DIGESTS)
