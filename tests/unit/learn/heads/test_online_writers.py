"""Two processes that learn from one user's feedback at the same moment lose nothing and contradict nobody."""

import subprocess
import sys
from pathlib import Path

import pytest
from postgres import new_database
from sqlalchemy import create_engine, text
from torch.testing import assert_close

from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.feedback_events import event_group
from hydra_ray.learn.heads.fitter import FitChoice, HeadFitter
from hydra_ray.models.heads.online import head_of
from hydra_ray.records import UserKey
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import FeedbackEvent
from hydra_ray.tasks import Task

ANN = UserKey("acme", "ann")
LABELS = ("comedy", "dark comedy", "sci-fi", "drama")
BASES = Settings.model_validate({"fit": {"head": {"kind": "bases"}, "pull": 0.02}})
TAGS = Task("tags", "classification", "Which tag fits this film?", "description:", labels=LABELS, max_tokens=16)
EACH = 500

# The first process imports and loads what all use; two write each database.
LEARNS = """
import os, sys, traceback
sys.path[:0] = sys.argv[1:3]
import psycopg
from defaults import load_scorer
from pathlib import Path
from test_online_writers import ANN, BASES, EACH, TAGS, accepted
from hydra_ray.learn.heads.online import OnlineLearner
from hydra_ray.store.backends import open_store
scorer = load_scorer(Path(sys.argv[3]))
all_there, begin = os.pipe()
for writer in range(4):
    if os.fork() == 0:
        code = 1
        try:
            os.close(begin)
            os.read(all_there, 1)
            store = open_store(sys.argv[4 + writer // 2])
            learner = OnlineLearner(store, "v1", TAGS, scorer, BASES)
            for number in range(writer % 2, 2 * EACH, 2):
                assert learner.learn(ANN, accepted(number), ()).learnt
            store.close()
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
os.close(begin)
sys.exit(max(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(4)))
"""


def accepted(number):
    label = LABELS[number * number % 11 % 4]
    return FeedbackEvent(f"item-{number:04d}", f"a film about {number} heists", "accepted", label, LABELS)


@pytest.fixture(scope="module")
def float32():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_PRECISION", "float32")
        yield


@pytest.fixture(scope="module")
def judging(float32, scorer):
    return scorer()


@pytest.fixture(scope="module")
def fresh_fit(judging):
    """The head of everything that both say, fitted at once."""
    groups = [event_group(ANN, accepted(number), (), TAGS, BASES.seed) for number in range(2 * EACH)]
    features = encode_all(judging, [groups])[0]
    (fitted,) = HeadFitter(judging.heads, lambda _: FitChoice(BASES.fit), BASES.base.loss)([(ANN, features)])
    return fitted


@pytest.fixture(scope="module")
def written(judging, postgres_server, tmp_path_factory):
    """Databases of both kinds, by name, once two processes each have learnt."""
    folder, here = tmp_path_factory.mktemp("writers"), Path(__file__).parent
    judging.save(folder / "adapter")
    paths = [str(here), str(here.parents[2]), str(folder / "adapter")]
    with new_database(postgres_server) as postgres:
        databases = {"sqlite": f"sqlite:///{folder}/users.db", "postgres": postgres}
        command = [sys.executable, "-c", LEARNS, *paths, *databases.values()]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert ran.returncode == 0, ran.stderr
        yield databases


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
def test_two_writers_of_a_new_user_lose_nothing_and_the_head_is_a_fresh_fit(name, written, fresh_fit):
    database = written[name]
    store = open_store(database)
    assert sorted(item.id for item in store.history(ANN)) == [f"item-{number:04d}" for number in range(2 * EACH)]
    assert store.history_version(ANN).next_place == 2 * EACH
    engine = create_engine(database)
    with engine.connect() as db:
        assert db.execute(text("select count(distinct place) from history")).scalar() == 2 * EACH
    engine.dispose()
    observed, head = store.observations([ANN], "v1", "adapter")[ANN], store.head(ANN, "v1", "adapter")
    assert observed.keys() == dict(fresh_fit.observations).keys()
    # None that either has read is missing in the last head.
    again = head_of(
        [observed[item] for item in sorted(observed)], len(head.tensors["mean"]), BASES.base.loss, head.about
    )
    assert_close(head.tensors, again.tensors, rtol=1e-5, atol=1e-6)
    # Encoded together texts come out a little otherwise than alone, and are kept in float16.
    assert (head.kind, head.about) == (fresh_fit.head.kind, fresh_fit.head.about)
    assert_close(head.tensors, fresh_fit.head.tensors, rtol=1e-2, atol=1e-3)
    print(f"{len(observed)} items and observations of two writers; largest difference to a fresh fit:", end=" ")
    print(f"{(head.tensors['mean'] - fresh_fit.head.tensors['mean']).abs().max():.1e}")
    store.close()
