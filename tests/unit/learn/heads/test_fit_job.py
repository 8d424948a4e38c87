"""What a fit from records does to the store, night after night; Ray's part of it is done in this process."""

import contextlib
import json
import pickle
import shutil
from types import SimpleNamespace

import pytest
from defaults import load_base, load_scorer

from hydra_ray.commands.fit import fit_lines
from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.heads import job
from hydra_ray.learn.heads.job import fit_users
from hydra_ray.learn.heads.online import OnlineLearner
from hydra_ray.learn.heads.pipeline import FittedShard
from hydra_ray.models.base import ADAPTER, RERANKER, Base
from hydra_ray.progress import SILENT
from hydra_ray.records import HydraError, UserKey
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import FeedbackEvent

ANN, BOB, EVE, NEW = (UserKey("default", name) for name in ("ann", "bob", "eve", "new"))
LABELS = ("funny", "sad", "tense")
FILM = "a film about nine dogs"


@pytest.fixture(autouse=True)
def meanwhile(monkeypatch):
    """Encodes and fits shards here; what is put into the list is done while the first fit goes on."""
    to_do = []

    def fit_shards(read, how, fit):
        while to_do:
            to_do.pop()()
        # As a worker gets it.
        read = pickle.loads(pickle.dumps(read))
        for place in range(len(read.sizes)):
            one = read(place)
            shard = one.shard
            groups = {user.key: found for user in one.users if (found := one.groups(shard.role, user))}
            heads = []
            if groups:
                scorer = load_scorer(how.base / shard.role, precision="float32")
                features = zip(groups, encode_all(scorer, list(groups.values())), strict=True)
                heads = list(fit(how.base, shard.role)(features))
            yield FittedShard(shard, heads, one.seen, "", {})

    monkeypatch.setattr(job, "cluster", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(job, "watch", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(job, "encoding", lambda _, base, folder: SimpleNamespace(base=base, progress=None))
    monkeypatch.setattr(job, "fit_shards", fit_shards)
    return to_do


@pytest.fixture
def settings(scorer, tmp_path):
    """Settings of a kind of head on records of three users, with an untrained base that answers these labels."""
    rows = [
        {"user_id": user, "input": f"a film about {day} cats", "output": LABELS[day % 3], "ts": f"2026-01-0{day}"}
        for user in ("ann", "bob", "eve")
        for day in range(1, 8)
    ]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def make(kind="lowrank", **more):
        data = {
            "format": "records",
            "path": str(path),
            "labels": list(LABELS),
            "split": "dev",
            "queries_per_user": 1,
            "dev_share": 0.99,
        }
        fit = {"mode": "zero-call", "head": {"kind": kind}}
        tree = parse_settings({"out": str(tmp_path), "users": "dev", "data": {**data, **more}, "fit": fit})
        if not tree.model_dir.exists():
            task, _ = load_data(tree, "dev")
            Base("v1", task, scorer(seed=1), scorer(seed=2)).save(tree.model_dir / "base")
        return tree

    return make


@pytest.fixture
def without_reranker(settings, scorer):
    """Settings like the others, with a base that has no reranker."""
    tree = settings()
    task, _ = load_data(tree, "dev")
    shutil.rmtree(tree.model_dir)
    Base("v1", task, None, scorer(seed=2)).save(tree.model_dir / "base")
    return tree


def reranking(tree, rerank):
    return tree.model_copy(update={"method": tree.method.model_copy(update={"rerank": rerank})})


def test_heads_are_of_the_roles_that_are_used(settings, without_reranker):
    report = fit_users(reranking(without_reranker, False), SILENT)
    assert (report.heads, report.kept) == ({ADAPTER: 3}, {ADAPTER: 0})
    with pytest.raises(HydraError, match=r"^method\.rerank: version v1 has no reranker\. Train again"):
        fit_users(reranking(without_reranker, True), SILENT)


def test_a_reranker_that_is_not_used_gets_no_heads(settings):
    assert fit_users(reranking(settings(), False), SILENT).heads == {ADAPTER: 3}
    assert fit_users(reranking(settings(), True), SILENT).kept == {ADAPTER: 3, RERANKER: 0}


@pytest.fixture
def store(settings):
    store = open_store(settings().store_url)
    yield store
    store.close()


def events(films=range(4)):
    """One label accepted and one rejected of each film."""
    for number in films:
        for said, text in (("accepted", "tense"), ("rejected", "sad")):
            yield FeedbackEvent(f"{said}-{number}", f"a film about {number} dogs", said, text, LABELS)


def talk(tree, store, user, films=range(4)):
    base = load_base(tree.model_dir / "base")
    online = OnlineLearner(store, "v1", base.task, base.adapter, tree)
    return [online.learn(user, event, ()).head for event in events(films)]


def gained(tree, head, before):
    """Labels by what they gain by one head over another, least first."""
    base = load_base(tree.model_dir / "base")
    asked = [(label, FILM, ()) for label in LABELS]
    more = base.adapter.score(asked, [head] * 3) - base.adapter.score(asked, [before] * 3)
    return [LABELS[place] for place in more.argsort()]


@pytest.mark.parametrize("kind", ["lowrank", "dense", "bases"])
@pytest.mark.parametrize("source", ["records", "store"])
def test_what_was_said_counts_after_a_fit(settings, store, kind, source):
    """With `lowrank` and `records` these are the shipped settings: the next fit learns what the reply said it would."""
    tree = settings(kind)
    assert fit_users(tree, SILENT).heads[ADAPTER] == 3
    before = {user: store.head(user, "v1", ADAPTER) for user in (ANN, NEW)}
    stamp = store.stamps([BOB], "v1", ADAPTER)
    learnt = {*talk(tree, store, ANN), *talk(tree, store, NEW)}
    assert learnt <= ({"created", "updated"} if kind == "bases" else {"at_next_fit"})

    report = fit_users(settings(kind, format=source), SILENT)
    assert (report.users, report.heads[ADAPTER], report.kept[ADAPTER], report.events) == (4, 2, 2, 16)
    assert store.stamps([BOB], "v1", ADAPTER) == stamp, "who said nothing is not fitted again"
    for user in (ANN, NEW):
        order = gained(tree, store.head(user, "v1", ADAPTER), before[user])
        assert (order[0], order[-1]) == ("sad", "tense")
    assert [len(store.history(user)) for user in (ANN, BOB, NEW)] == [10, 6, 4]
    assert fit_users(settings(kind, format=source), SILENT).heads[ADAPTER] == 0, "nothing is new"


def test_a_fit_gives_what_learning_online_would(settings, store):
    tree = settings("bases")
    fit_users(tree, SILENT)
    talk(tree, store, ANN)
    online, observed = store.head(ANN, "v1", ADAPTER), store.observations([ANN], "v1", ADAPTER)
    fit_users(tree, SILENT)
    fitted = store.head(ANN, "v1", ADAPTER)
    assert store.observations([ANN], "v1", ADAPTER)[ANN].keys() == observed[ANN].keys()
    assert fitted.tensors["mean"] == pytest.approx(online.tensors["mean"], abs=1e-3)


def test_who_was_deleted_is_not_fitted_until_undeleted(settings, store, tmp_path):
    tree = settings("bases")
    fit_users(tree, SILENT)
    talk(tree, store, ANN)
    store.delete(ANN)
    store.delete_item(BOB, "bob-3")
    report = fit_users(tree, SILENT)
    assert (report.users, report.events) == (2, 0)
    assert (store.history(ANN), store.head(ANN, "v1", ADAPTER)) == ((), None)
    assert "bob-3" not in store.observations([BOB], "v1", ADAPTER)[BOB]
    (tmp_path / "back.txt").write_text("ann\nnobody\n")
    lines = list(fit_lines(tree, SILENT, replace_histories=False, undeleted=tmp_path / "back.txt"))
    assert lines[0] == "1 users and 0 items may come back with their records."
    assert "['nobody']" in lines[1]
    assert "6 items added" in lines[2]
    assert len(store.history(ANN)) == 6
    assert store.feedback_events([ANN]) == {}, "what was said is gone for good"


def test_who_goes_on_while_a_fit_goes_on_loses_nothing_by_it(settings, store, meanwhile):
    tree = settings("bases")
    fit_users(tree, SILENT)
    for user in (ANN, BOB, EVE, NEW):
        talk(tree, store, user, [0])
    stamps = {}

    def go_on():
        talk(tree, store, ANN, [1])
        store.delete(BOB)
        stamps.update(store.stamps([ANN], "v1", ADAPTER))

    meanwhile.append(go_on)
    report = fit_users(tree, SILENT)
    assert (report.heads[ADAPTER], report.left[ADAPTER]) == (2, 2)
    assert store.head(BOB, "v1", ADAPTER) is None
    assert store.head_fingerprints("v1", ADAPTER).keys() == {ANN, EVE, NEW}
    assert store.stamps([ANN], "v1", ADAPTER) == stamps
    second = fit_users(tree, SILENT)
    assert (second.heads[ADAPTER], second.left) == (1, {ADAPTER: 0}), "the next one takes them up"


def test_replacing_leaves_what_the_records_say(settings, store):
    tree = settings("bases")
    fit_users(tree, SILENT)
    fitted = store.observations([ANN], "v1", ADAPTER)[ANN]
    talk(tree, store, ANN)
    report = fit_users(tree, SILENT, replace_histories=True)
    assert (report.merged.removed, report.merged.events, report.merged.losers) == (4, 8, {ANN: 12})
    assert len(store.history(ANN)) == 6
    assert store.observations([ANN], "v1", ADAPTER)[ANN] == fitted


def test_histories_of_the_store_cannot_be_replaced_by_themselves(settings):
    settings()
    with pytest.raises(HydraError, match=r"--replace: data\.format store"):
        fit_users(settings(format="store"), SILENT, replace_histories=True)


def test_a_file_of_users_names_all_that_are_fitted(settings, store, tmp_path):
    tree = settings("bases")
    fit_users(tree, SILENT)
    for user in (ANN, NEW):
        talk(tree, store, user)
    (tmp_path / "some.txt").write_text("bob\nann\n")
    report = fit_users(tree.model_copy(update={"users": str(tmp_path / "some.txt")}), SILENT)
    assert (report.users, report.events) == (2, 8)
