"""A fit from records, night after night: what users said stays, what they deleted stays away."""

import json

import pytest
from defaults import load_base

from hydra_ray.learn.heads.job import fit_users
from hydra_ray.learn.heads.online import OnlineLearner
from hydra_ray.models.base import ADAPTER, Base
from hydra_ray.progress import SILENT
from hydra_ray.records import UserKey
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import FeedbackEvent

ANN, BOB, EVE, NEW = (UserKey("default", name) for name in ("ann", "bob", "eve", "new"))
LABELS = ("funny", "sad", "tense")


@pytest.fixture
def settings(scorer, tmp_path):
    """Settings of a kind of head on records of three users, with an untrained base that answers these labels."""
    films = [(str(number), f"a film about {number} cats", LABELS[number % 3]) for number in range(7)]
    rows = [
        {"user_id": user, "input": film, "output": label, "ts": f"2026-01-0{int(name) + 1}"}
        for user in ("ann", "bob", "eve")
        for name, film, label in films
    ]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def make(kind):
        data = {
            "format": "records",
            "path": str(path),
            "labels": list(LABELS),
            "queries_per_user": 1,
            "dev_share": 0.99,
        }
        fit = {"mode": "zero-call", "head": {"kind": kind}}
        tree = parse_settings({"out": str(tmp_path), "users": "dev", "data": data, "fit": fit})
        task, _ = load_data(tree, "dev")
        Base("v1", task, scorer(seed=1), scorer(seed=2)).save(tree.model_dir / "base")
        return tree

    return make


def talk(tree, store, user):
    """Has a user accept one label and reject another of each of four films, online."""
    base = load_base(tree.model_dir / "base")
    online = OnlineLearner(store, "v1", base.task, base.adapter, tree)
    for number in range(4):
        for said, text in (("accepted", "tense"), ("rejected", "sad")):
            event = FeedbackEvent(f"{said}-{number}", f"a film about {number} dogs", said, text, LABELS)
            yield online.learn(user, event, ()).head


def gained(tree, head, before):
    """What each label gains by one head over another."""
    base = load_base(tree.model_dir / "base")
    asked = [(label, "a film about nine dogs", ()) for label in LABELS]
    return base.adapter.score(asked, [head] * 3) - base.adapter.score(asked, [before] * 3)


@pytest.mark.usefixtures("ray_cluster")
def test_what_was_said_and_what_was_deleted_survive_a_fit_from_the_records(settings):
    """These are the shipped settings: the next fit learns what the reply said it would."""
    tree = settings("lowrank")
    report = fit_users(tree, SILENT)
    assert (report.users, report.heads[ADAPTER], report.merged.added, report.events) == (3, 3, 18, 0)
    store = open_store(tree.store_url)
    before = {user: store.head(user, "v1", ADAPTER) for user in (ANN, BOB, NEW)}
    stamp = store.stamps([BOB], "v1", ADAPTER)
    learnt = [*talk(tree, store, ANN), *talk(tree, store, NEW)]
    assert set(learnt) == {"at_next_fit"}
    store.delete(EVE)

    report = fit_users(tree, SILENT)
    assert (report.users, report.heads[ADAPTER], report.kept[ADAPTER], report.events) == (3, 2, 1, 16)
    assert store.stamps([BOB], "v1", ADAPTER) == stamp, "who said nothing is not fitted again"
    for user in (ANN, NEW):
        found = gained(tree, store.head(user, "v1", ADAPTER), before[user])
        assert (found.argmax(), found.argmin()) == (LABELS.index("tense"), LABELS.index("sad"))
    assert [len(store.history(user)) for user in (ANN, BOB, NEW, EVE)] == [10, 6, 4, 0]
    assert store.head_fingerprints("v1", ADAPTER).keys() == {ANN, BOB, NEW}
    store.close()
