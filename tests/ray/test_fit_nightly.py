"""A fit from records, night after night: what users said stays, what they deleted stays away."""

import json

import pytest
from defaults import load_base

from hydra_ray.learn.heads.job import fit_users
from hydra_ray.learn.heads.online import OnlineLearner
from hydra_ray.models.base import ADAPTER, Base
from hydra_ray.progress import SILENT
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import FeedbackEvent

ANN, BOB, NEW = (UserKey("default", name) for name in ("ann", "bob", "new"))
LABELS = ("funny", "sad", "tense")


@pytest.fixture
def settings(scorer, tmp_path):
    """Settings of a kind of head on records of two users, with an untrained base that answers these labels."""
    films = [(str(number), f"a film about {number} cats", LABELS[number % 3]) for number in range(7)]
    rows = [
        {"user_id": user, "input": film, "output": label, "ts": f"2026-01-0{int(name) + 1}"}
        for user in ("ann", "bob")
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
        fit = {"mode": "zero-call", "head": {"kind": kind}, "steps": 60, "lr": 0.02}
        tree = parse_settings({"out": str(tmp_path), "users": "dev", "data": data, "fit": fit})
        task, _ = load_data(tree, "dev")
        Base("v1", task, scorer(seed=1), scorer(seed=2)).save(tree.model_dir / "base")
        return tree

    return make


@pytest.fixture
def talk(settings):
    """Has a user accept one label and reject another of each of some films, online."""

    def make(tree, store, user, films):
        base = load_base(tree.model_dir / "base")
        online = OnlineLearner(store, "v1", base.task, base.adapter, tree)
        for number in films:
            for said, text in (("accepted", "tense"), ("rejected", "sad")):
                event = FeedbackEvent(f"{said}-{number}", f"a film about {number} dogs", said, text, LABELS)
                yield online.learn(user, event, store.history(user)[-2:])

    return lambda *about: list(make(*about))


def gained(tree, store, user):
    """What each label gains by the user's head."""
    base = load_base(tree.model_dir / "base")
    asked = [(label, "a film about nine dogs", ()) for label in LABELS]
    head = store.head(user, "v1", ADAPTER)
    assert head is not None
    return base.adapter.score(asked, [head] * 3) - base.adapter.score(asked, [None] * 3)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("kind", ["lowrank", "bases"])
def test_what_was_said_survives_a_fit_from_the_records(settings, talk, kind):
    tree = settings(kind)
    report = fit_users(tree, SILENT)
    assert (report.users, report.heads[ADAPTER], report.merged.added, report.events) == (2, 2, 12, 0)
    store = open_store(tree.store_url)
    before = store.stamps([BOB], "v1", ADAPTER)
    learnt = talk(tree, store, ANN, range(4)) + talk(tree, store, NEW, range(4))
    assert {one.head for one in learnt} <= ({"at_next_fit"} if kind == "lowrank" else {"created", "updated"})

    report = fit_users(tree, SILENT)
    assert (report.users, report.heads[ADAPTER], report.kept[ADAPTER], report.events) == (3, 2, 1, 16)
    assert store.stamps([BOB], "v1", ADAPTER) == before, "who said nothing is not fitted again"
    for user in (ANN, NEW):
        found = gained(tree, store, user)
        assert (found.argmax(), found.argmin()) == (LABELS.index("tense"), LABELS.index("sad"))
    assert [len(store.history(user)) for user in (ANN, BOB, NEW)] == [10, 6, 4]
    assert fit_users(tree, SILENT).heads[ADAPTER] == 0, "nothing is new"


@pytest.mark.usefixtures("ray_cluster")
def test_who_was_deleted_is_not_fitted_again_until_undeleted(settings, talk):
    tree = settings("bases")
    fit_users(tree, SILENT)
    store = open_store(tree.store_url)
    talk(tree, store, ANN, [0])
    store.delete(ANN)
    store.delete_item(BOB, "bob-3")
    report = fit_users(tree, SILENT)
    assert report.users == 1
    assert store.head(ANN, "v1", ADAPTER) is None
    assert store.history(ANN) == ()
    assert "bob-3" not in {item.id for item in store.history(BOB)}
    assert "bob-3" not in store.observations([BOB], "v1", ADAPTER)[BOB]
    store.undelete(ANN)
    assert fit_users(tree, SILENT).users == 2
    assert len(store.history(ANN)) == 6


@pytest.mark.usefixtures("ray_cluster")
def test_replacing_leaves_what_the_records_say(settings, talk):
    tree = settings("bases")
    fit_users(tree, SILENT)
    store = open_store(tree.store_url)
    fitted = store.observations([ANN], "v1", ADAPTER)
    talk(tree, store, ANN, range(2))
    store.append_history(BOB, HistoryItem("online", "a film", "sad"))
    report = fit_users(tree, SILENT, replace_histories=True)
    assert (report.merged.removed, report.merged.events, set(report.merged.losers)) == (3, 4, {ANN, BOB})
    assert [len(store.history(user)) for user in (ANN, BOB)] == [6, 6]
    assert store.observations([ANN], "v1", ADAPTER).keys() == fitted.keys()
    assert store.observations([ANN], "v1", ADAPTER)[ANN].keys() == fitted[ANN].keys()
