"""Heads of any version are computed from what is kept of users, as learning online there would have."""

import random
from dataclasses import replace

import pytest
from defaults import load_scorer
from torch.testing import assert_close

from hydra_ray.learn.heads.online import OnlineLearner
from hydra_ray.learn.heads.replay import replay_users
from hydra_ray.models.base import ADAPTER, Base
from hydra_ray.progress import SILENT
from hydra_ray.records import HistoryItem, HydraError, Query, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.steps.retrieval.retrievers import retriever
from hydra_ray.store.types import FeedbackEvent

ANN, BOB, NOBODY_KNOWN = UserKey("default", "ann"), UserKey("default", "bob"), UserKey("default", "eve")
LABELS = ("comedy", "dark comedy", "sci-fi", "drama")


@pytest.fixture
def folders(scorer, tag_task, tmp_path):
    """Bases of two versions."""
    for seed, version in enumerate(("v1", "v2")):
        Base(version, tag_task, scorer(2 * seed + 1), scorer(2 * seed + 2)).save(tmp_path / version)
    return {version: tmp_path / version for version in ("v1", "v2")}


@pytest.fixture
def settings(tmp_path):
    def make(kind="bases", **fit):
        about = {"head": {"kind": kind}, "mode": "zero-call", "min_groups": 1, **fit}
        precision = {"encoder": {"precision": "float32"}}
        return parse_settings({"out": str(tmp_path / "out"), "fit": about, "base": precision})

    return make


def learner(store, folders, version, task, settings):
    scorer = load_scorer(folders[version] / ADAPTER, precision="float32")
    return OnlineLearner(store, version, task, scorer, settings)


def said(number, **more):
    kind, label = ("accepted", "rejected", "edited")[number % 3], LABELS[number % 4]
    return FeedbackEvent(f"item-{number}", f"a film about {number} heists", kind, label, LABELS, **more)


def talk(online, store, user, numbers):
    """Each event reads the answers of what was said before."""
    for number in numbers:
        online.learn(user, said(number, votes=(4, 1, 2, 1)), store.history(user)[-2:])


def same(one, other):
    assert (one.kind, one.about) == (other.kind, other.about)
    assert_close(one.tensors, other.tensors, rtol=1e-4, atol=1e-5)


def test_a_replay_is_what_learning_online_on_that_version_would_have_given(store, folders, settings, tag_task):
    for version in folders:
        talk(learner(store, folders, version, tag_task, settings()), store, ANN, range(7))
        talk(learner(store, folders, version, tag_task, settings()), store, BOB, range(3, 8))
    online = {user: store.head(user, "v2", ADAPTER) for user in (ANN, BOB)}
    observed = store.observations([ANN, BOB], "v2", ADAPTER)
    store.put_heads("v2", ADAPTER, dict.fromkeys((ANN, BOB)))
    store.put_observations("v2", ADAPTER, {ANN: {}, BOB: {}})
    report = replay_users(settings(), folders["v2"], store, [ANN, BOB, NOBODY_KNOWN], SILENT)
    assert (report.version, report.users, report.heads, report.left) == ("v2", 3, {ADAPTER: 2}, set())
    for user, head in online.items():
        same(store.head(user, "v2", ADAPTER), head)
    assert store.observations([ANN, BOB], "v2", ADAPTER).keys() == observed.keys()
    assert store.observations([ANN], "v2", ADAPTER)[ANN].keys() == observed[ANN].keys()
    assert store.head(NOBODY_KNOWN, "v2", ADAPTER) is None


def test_a_version_without_a_reranker_has_heads_of_the_adapter_alone(store, scorer, settings, tag_task, tmp_path):
    Base("v3", tag_task, None, scorer(seed=2)).save(tmp_path / "v3")
    talk(OnlineLearner(store, "v3", tag_task, scorer(seed=2), settings()), store, ANN, range(4))
    method = {"method": settings().method.model_copy(update={"rerank": False})}
    report = replay_users(settings().model_copy(update=method), tmp_path / "v3", store, [ANN], SILENT)
    assert (report.heads, report.kept) == ({ADAPTER: 1}, {ADAPTER: 0})
    method = {"method": settings().method.model_copy(update={"rerank": True})}
    with pytest.raises(HydraError, match="version v3 has no reranker"):
        replay_users(settings().model_copy(update=method), tmp_path / "v3", store, [ANN], SILENT)


def test_the_order_of_events_does_not_matter(store, folders, settings, tag_task):
    online, numbers = learner(store, folders, "v1", tag_task, settings()), list(range(8))
    for number in numbers:
        online.learn(ANN, said(number), ())
    random.Random(3).shuffle(numbers)
    for number in numbers:
        online.learn(BOB, said(number), ())
    replay_users(settings(), folders["v2"], store, [ANN, BOB], SILENT)
    same(store.head(ANN, "v2", ADAPTER), store.head(BOB, "v2", ADAPTER))


def test_going_back_to_a_version_takes_up_what_was_said_on_the_other(store, folders, settings, tag_task):
    talk(learner(store, folders, "v1", tag_task, settings()), store, ANN, range(3))
    replay_users(settings(), folders["v2"], store, [ANN], SILENT)
    second = learner(store, folders, "v2", tag_task, settings())
    talk(second, store, ANN, range(3, 6))
    second.forget(ANN, "item-0")
    talk(learner(store, folders, "v1", tag_task, settings()), store, BOB, ())
    report = replay_users(settings(), folders["v1"], store, [ANN], SILENT)
    assert report.heads[ADAPTER] == 1
    assert store.observations([ANN], "v1", ADAPTER)[ANN].keys() == {f"item-{number}" for number in range(1, 6)}
    again = store.head(ANN, "v1", ADAPTER)
    store.put_heads("v1", ADAPTER, {ANN: None})
    replay_users(settings(), folders["v1"], store, [ANN], SILENT)
    same(store.head(ANN, "v1", ADAPTER), again)


@pytest.mark.parametrize("kind", ["bases", "lowrank", "facets"])
def test_only_who_said_something_since_is_computed_again(store, folders, settings, tag_task, kind):
    online = learner(store, folders, "v1", tag_task, settings(kind))
    for user in (ANN, BOB):
        talk(online, store, user, range(6))
    first = replay_users(settings(kind), folders["v2"], store, [ANN, BOB], SILENT)
    assert (first.heads[ADAPTER], first.kept[ADAPTER]) == (2, 0)
    before = store.stamps([ANN, BOB], "v2", ADAPTER)
    assert replay_users(settings(kind), folders["v2"], store, [ANN, BOB], SILENT).kept[ADAPTER] == 2
    talk(online, store, ANN, [7])
    second = replay_users(settings(kind), folders["v2"], store, [ANN, BOB], SILENT)
    assert (second.heads[ADAPTER], second.kept[ADAPTER]) == (1, 1)
    after = store.stamps([ANN, BOB], "v2", ADAPTER)
    assert (before[ANN] != after[ANN], before[BOB] == after[BOB]) == (True, True)


@pytest.mark.parametrize("kind", ["bases", "lowrank"])
def test_heads_prefer_what_was_accepted_and_not_what_was_rejected(store, folders, settings, tag_task, kind):
    options = settings(kind, steps=60, lr=0.02)
    online = learner(store, folders, "v1", tag_task, options)
    for number in range(6):
        film = f"a film about {number} heists"
        online.learn(ANN, FeedbackEvent(f"a{number}", film, "accepted", "drama", LABELS), ())
        online.learn(ANN, FeedbackEvent(f"r{number}", film, "rejected", "sci-fi", LABELS), ())
    replay_users(options, folders["v2"], store, [ANN], SILENT)
    scorer = load_scorer(folders["v2"] / ADAPTER, precision="float32")
    asked = [(label, "a film about nine heists", ()) for label in LABELS]
    gained = scorer.score(asked, [store.head(ANN, "v2", ADAPTER)] * 4) - scorer.score(asked, [None] * 4)
    assert (gained.argmax(), gained.argmin()) == (LABELS.index("drama"), LABELS.index("sci-fi"))


def test_history_that_nobody_said_anything_of_is_replayed_as_well(store, folders, settings):
    history = [HistoryItem(str(number), f"a film about {number} heists", "drama") for number in range(6)]
    store.put_histories({ANN: history})
    replay_users(settings(), folders["v1"], store, [ANN], SILENT)
    assert len(store.observations([ANN], "v1", ADAPTER)[ANN]) == 6


def test_who_talks_while_their_heads_are_computed_gets_them_all_the_same(
    store, folders, settings, tag_task, monkeypatch
):
    online = learner(store, folders, "v1", tag_task, settings())
    talk(online, store, ANN, range(3))
    put, talks = store.put_fitted, iter([3, 4])

    def put_after_a_word(*about):
        for number in talks:
            talk(online, store, ANN, [number])
            break
        return put(*about)

    monkeypatch.setattr(store, "put_fitted", put_after_a_word)
    report = replay_users(settings(), folders["v2"], store, [ANN], SILENT)
    assert (report.heads[ADAPTER], report.left) == (1, set())
    assert len(store.observations([ANN], "v2", ADAPTER)[ANN]) == 5


def test_a_base_without_the_kinds_part_is_refused_before_anything_is_done(store, folders, settings):
    with pytest.raises(HydraError):
        replay_users(settings(), folders["v1"] / "none", store, [ANN], SILENT)


@pytest.mark.parametrize("kind", ["bases", "lowrank"])
def test_a_rejected_answer_of_records_teaches_what_taking_the_other_online_would_have(
    store, folders, settings, tag_task, kind
):
    online, method = learner(store, folders, "v1", tag_task, settings(kind)), settings(kind).method
    nearest = retriever(method.retriever, None, method.stemmer)
    asked = [f"a film about {number} heists" for number in range(6)]
    items = [HistoryItem(f"item-{n}", text, LABELS[n % 2], rejected="drama") for n, text in enumerate(asked)]
    for item in items:
        earlier = [one for one in items if one.id < item.id]
        # Read beside each query as the fit reads them: nearest first.
        read = [ranked.item for ranked in nearest(Query(item.id, BOB, item.input), earlier, method.history_answers)]
        online.learn(BOB, FeedbackEvent(item.id, item.input, "accepted", item.output, (item.output, "drama")), read)
    store.put_histories({ANN: items})
    replay_users(settings(kind), folders["v2"], store, [ANN, BOB], SILENT)
    same(store.head(ANN, "v2", ADAPTER), store.head(BOB, "v2", ADAPTER))
    # Without them each item would be compared with all other labels.
    store.put_histories({ANN: [replace(item, rejected=None) for item in items]})
    assert replay_users(settings(kind), folders["v2"], store, [ANN], SILENT).heads[ADAPTER] == 1
    with pytest.raises(AssertionError):
        same(store.head(ANN, "v2", ADAPTER), store.head(BOB, "v2", ADAPTER))
