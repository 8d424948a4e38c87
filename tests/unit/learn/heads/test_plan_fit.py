"""Fits of users who are read a few at a time come to what they come to with everybody in memory."""

import pickle
from dataclasses import replace

import pytest

from hydra_ray.learn.collect.example_plan import ExampleRules, plan_users
from hydra_ray.learn.collect.job import planned_examples
from hydra_ray.learn.collect.labeler import CollectedFeedback
from hydra_ray.learn.collect.rows import AdapterRow
from hydra_ray.learn.collect.rows_by_user import RowsByUser
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.learn.examples.training_data import load_training_data
from hydra_ray.learn.heads import training_reader
from hydra_ray.learn.heads.shards import make_shards, plan_fit
from hydra_ray.learn.heads.stored_users import read_users
from hydra_ray.learn.heads.todo import changed_users, head_fingerprints_of
from hydra_ray.learn.heads.training_reader import TrainingReader
from hydra_ray.models.base import ADAPTER, ROLES
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.runtime.generators import calls_for_candidates
from hydra_ray.runtime.users import store_users
from hydra_ray.runtime.users.store_users import StoreUsers, users_of_tenant
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import FeedbackEvent

USERS = [UserKey("default", f"user-{number:02}") for number in range(11)]


@pytest.fixture
def settings(tmp_path):
    feedback = {"pseudo_queries": 3, "items": 2, "max_calls": 60}
    fit = {"users_per_shard": 4}
    return parse_settings(
        {
            "out": str(tmp_path),
            "feedback": feedback,
            "fit": fit,
            "generator": {"model": "m"},
            "method": {"rerank": True},
        }
    )


@pytest.fixture
def store(settings):
    """Users of whom one said something and has no history."""
    store = open_store(settings.store_target)
    store.put_histories(
        {
            key: [
                HistoryItem(f"i{n}", f"film {n} of {key.user}", ("sad", "funny")[n % 2], f"2020-0{n + 1}-01")
                for n in range(2 + number % 4)
            ]
            for number, key in enumerate(USERS[:-1])
        }
    )
    with store.updating_observations(USERS[-1], "v1", ADAPTER) as update:
        update.put_event(FeedbackEvent("said", "a film", "edited", "sad", ("funny",)))
    yield store
    store.close()


def source(settings) -> StoreUsers:
    return users_of_tenant(settings.store_target, "default", pairs=True).joined([USERS[-1].user, USERS[0].user])


def feedback(settings, examples):
    """Feedback of all examples, in parts and in another order than that of users."""
    kept, told = FeedbackStore(settings.feedback_dir), []
    for number, example in enumerate(reversed(examples)):
        row = AdapterRow(example.key, example.query.input, example.gold, (), ("sad", "funny"), (3, number), (1.0, 0.5))
        told.append((example.key, CollectedFeedback(adapter=[row])))
    for part in range(3):
        kept.write(part, told[part::3])


def plans(settings, store, tag_task, at_once, mode):
    """The plan of a fit, and what everybody in memory gives: data and shards."""
    settings = settings.model_copy(update={"fit": settings.fit.model_copy(update={"mode": mode})})
    users, stored = source(settings), read_users(store, USERS)
    dataset = users.part(range(len(users)), stored.users)
    rules = ExampleRules(3, False, 2, calls_for_candidates(settings, tag_task), 60, settings.seed)
    examples = planned_examples(settings, tag_task, dataset) if mode == "llm" else []
    reader = TrainingReader(settings, tag_task, users, None, None)
    if examples:
        plan = plan_users(users, rules, at_once)
        assert list(plan) == examples
        rows = RowsByUser.made(settings.out / "rows.db", FeedbackStore(settings.feedback_dir))
        reader = TrainingReader(settings, tag_task, users, rows, plan.by_user())
    data = load_training_data(settings, tag_task, dataset, examples, stored.events)
    shards = [
        shard
        for role in ROLES
        for shard in make_shards(role, changed_users(data, role, store, "v1", settings), settings.fit.users_per_shard)
    ]
    return plan_fit(reader, head_fingerprints_of(settings, "v1"), store, "v1", ROLES, at_once), data, shards


@pytest.mark.parametrize("at_once", [1, 3, 100])
@pytest.mark.parametrize("mode", ["zero-call", "llm"])
@pytest.mark.parametrize("closed", [True, False])
def test_a_fit_reads_what_it_would_read_of_everybody_at_once(settings, store, tag_task, at_once, mode, closed):
    task = tag_task if closed else replace(tag_task, kind="generation", labels=())
    everybody = source(settings)
    feedback(settings, planned_examples(settings, task, everybody.part(range(len(everybody)))))
    plan, data, shards = plans(settings, store, task, at_once, mode)
    assert plan.events == 1
    assert plan.kept == dict.fromkeys(ROLES, 0)
    read = pickle.loads(pickle.dumps(plan.shards))
    found = [read(place) for place in range(len(read.sizes))]
    assert [one.shard for one in found] == shards
    assert read.sizes == [(shard.role, len(shard.users)) for shard in shards]
    users, taught = {user.key: user for user in data.dataset.users}, 0
    for one in found:
        assert [user.key for user in one.users] == [key for key, _ in one.shard.users] == list(one.seen)
        for user in one.users:
            groups = one.groups(one.shard.role, user)
            assert groups == data.groups(one.shard.role, users[user.key])
            taught += len(groups)
    assert taught, "nobody taught anything"


def test_only_who_changed_is_planned_and_who_changes_then_is_left(settings, store, tag_task):
    first, _, shards = plans(settings, store, tag_task, 3, "zero-call")
    marks = {key: mark for shard in shards if shard.role == ADAPTER for key, mark in shard.users}
    store.put_heads("v1", ADAPTER, dict.fromkeys(USERS[2:]), marks)
    again = plans(settings, store, tag_task, 3, "zero-call")[0]
    assert again.kept[ADAPTER] == len(USERS) - 2
    at = [role for role, _ in again.shards.sizes].index(ADAPTER)
    store.delete(USERS[1])
    one = again.shards(at)
    assert [key for key, _ in one.shard.users] == USERS[:2]
    assert [user.key for user in one.users] == list(one.seen) == USERS[:1]
    assert sum(count for _, count in first.shards.sizes) == 2 * len(USERS)


def test_who_is_deleted_before_they_are_read_is_not_planned(settings, store, tag_task):
    users = source(settings)
    store.delete(USERS[3])
    reader = TrainingReader(settings, tag_task, users, None, None)
    plan = plan_fit(reader, head_fingerprints_of(settings, "v1"), store, "v1", ROLES)
    planned = [[key for key, _ in plan.shards(place).shard.users] for place in range(len(plan.shards.sizes))]
    assert {key for some in planned for key in some} == {*USERS} - {USERS[3]}
    # A head of whom nothing else is left is taken back.
    store.put_heads("v1", ADAPTER, {USERS[3]: None}, {USERS[3]: "of what was deleted"})
    again = plan_fit(reader, head_fingerprints_of(settings, "v1"), store, "v1", ROLES)
    assert sum(count for role, count in again.shards.sizes if role == ADAPTER) == len(USERS)
    reader.close()


def test_features_of_a_part_of_a_shard_are_not_taken_for_those_of_the_whole(settings, store, tag_task):
    plan = plans(settings, store, tag_task, 3, "zero-call")[0]
    store.append_history(USERS[1], HistoryItem("more", "a film", "funny", "2021-01-01"))
    part = plan.shards(0)
    assert USERS[1] in dict(part.shard.users)
    assert USERS[1] not in part.seen
    store.delete_item(USERS[1], "more")
    whole = plan.shards(0)
    assert USERS[1] in whole.seen
    assert part.shard.name != whole.shard.name


def test_other_peoples_answers_are_looked_for_among_a_bounded_sample(settings, store, tag_task, monkeypatch):
    monkeypatch.setattr(training_reader, "_MOST_OTHERS", 3)
    reader = TrainingReader(settings, replace(tag_task, kind="generation", labels=()), source(settings), None, None)
    read = []

    def reading(places, known=None):
        read.extend(places)
        return StoreUsers.part(reader.users, places, known)

    monkeypatch.setattr(reader.users, "part", reading)
    data, _ = reader.of([0])
    assert data.groups(ADAPTER, data.dataset.users[0]), "others' answers are looked for"
    assert len(read) == 1 + 3
    reader.close()


def test_who_planned_leaves_no_store_open(settings, store, monkeypatch):
    opened = []

    def opening(target):
        opened.append(open_store(target))
        monkeypatch.setattr(opened[-1], "close", lambda close=opened[-1].close: (close(), closed.append(1)))
        return opened[-1]

    closed = []
    monkeypatch.setattr(store_users, "open_store", opening)
    users = source(settings)
    plan = plan_users(users, ExampleRules(3, False, 2, 1, 60, 0))
    opened_while_planning = len(opened)
    users.close()
    assert len(closed) == opened_while_planning == 2
    assert plan[0].query.user in USERS, "what is read again is opened again"
    users.close()
    assert len(closed) == len(opened) == 3


def test_users_of_a_store_are_those_that_settings_choose(settings, store):
    users = users_of_tenant(settings.store_target, "default", pairs=True)
    assert [users.key(place) for place in range(len(users))] == USERS[:-1]
    some, absent = users.only(["user-03", "nobody", "user-01"])
    assert [some.key(place).user for place in range(len(some))] == ["user-03", "user-01"]
    assert absent == ["nobody"]
    drawn = users.sampled(4, seed=3)
    assert len(drawn) == len({drawn.key(place) for place in range(4)}) == 4
    assert pickle.loads(pickle.dumps(users)).part([2]).users == users.part([2]).users
