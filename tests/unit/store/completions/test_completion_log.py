"""The completion log: found by id, read by user and time, bounded, and gone with its user."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import select

from hydra_ray.records import HistoryItem, Source, Usage, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.completions import log as completion_log
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.completions.records import Completion, GateOutcome, Offer, Statement
from hydra_ray.store.schema import open_database
from hydra_ray.store.tables import COMPLETIONS
from hydra_ray.store.types import FeedbackEvent

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
# Long ago: whoever is deleted in a test is deleted later.
EARLY_S = 1_000_000.0


def made(name, user="ann", at=EARLY_S, tenant="acme", **more):
    completion = Completion(
        id=f"chatcmpl-{name}",
        request_id=f"req-{name}",
        tenant=tenant,
        user=user,
        created_s=at,
        version="v1",
        method="hydra",
        arm=None,
        propensity=1.0,
        head="user",
        input=f"asks {name}",
        history=("b", "a"),
        candidates=(Offer("Wait.", 3, 0.5), Offer("Go.", 1, -1.25)),
        answered=0,
        degraded=("reranker",),
        usage=Usage(2, 30, 7, 1),
        seconds=0.25,
        streamed=True,
    )
    return replace(completion, **more)


@pytest.fixture
def database(url):
    database = open_database(url)
    yield database
    database.close()


@pytest.fixture
def log(database):
    return CompletionLog(database)


@pytest.fixture
def users(url):
    store = open_store(url)
    yield store
    store.close()


def test_a_completion_is_found_as_it_was_added_by_its_own_tenant_alone(log):
    gate = GateOutcome("recent-vote", 0.25, -0.125)
    said = made(
        "b",
        gate=gate,
        arm="off",
        propensity=0.25,
        statement=Statement("edited", -1, "Stay.", 1),
        said_s=5.0,
        learnt=True,
    )
    nobodys = made("c", user=None, input=None, history=(), candidates=())
    assert log.add([made("a"), said, nobodys]) == 3
    assert [log.find("acme", f"chatcmpl-{name}") for name in "abc"] == [made("a"), said, nobodys]
    assert log.find("zeta", "chatcmpl-a") is None
    assert log.find("acme", "chatcmpl-z") is None


def test_what_was_added_already_stays_as_it_is(log):
    log.add([made("a")])
    assert log.add([made("a", method="rag"), made("b"), made("b")]) == 1
    assert log.find("acme", "chatcmpl-a").method == "hydra"


def test_texts_that_no_database_takes_are_kept_as_far_as_they_go(log):
    log.add([made("a", input="zero \0 and half \ud83d", candidates=(Offer("half \ud83d", 1, 0.0),))])
    found = log.find("acme", "chatcmpl-a")
    assert (found.input, found.candidates[0].text) == ("zero \ufffd and half ?", "half ?")


def test_sources_of_a_mix_are_kept_and_rows_without_any_are_as_earlier_versions_have_them(log, database):
    mixed = Offer("Wait.", 3, 0.5, (Source("zero-shot", 1, greedy=True), Source("recent", 2, greedy=False)))
    log.add([made("a", candidates=(mixed, Offer("Go.", 1, -1.25))), made("b")])
    assert log.find("acme", "chatcmpl-a").candidates == (mixed, Offer("Go.", 1, -1.25))
    kept = database.read(
        lambda db: db.execute(select(COMPLETIONS.c.candidates).order_by(COMPLETIONS.c.id)).scalars().all()
    )
    assert json.loads(kept[1]) == [["Wait.", 3, 0.5], ["Go.", 1, -1.25]]


def test_completions_are_read_by_user_and_by_time_in_order(log, monkeypatch):
    monkeypatch.setattr(completion_log, "_ROWS_AT_ONCE", 2)
    # Several of one moment go over the end of a block.
    times = {"a": 3.0, "b": 1.0, "c": 3.0, "d": 3.0, "e": 4.0, "f": 2.0}
    log.add([made(name, at=at, user="bob" if name == "f" else "ann") for name, at in times.items()])
    log.add([made("other", at=3.0, tenant="zeta")])
    assert [one.id[-1] for one in log.between("acme", 2.0, 4.0)] == ["f", "a", "c", "d"]
    assert [one.id[-1] for one in log.of_user(ANN)] == ["b", "a", "c", "d", "e"]


def test_what_is_too_old_goes_of_every_tenant(log, monkeypatch):
    monkeypatch.setattr(completion_log, "_ROWS_AT_ONCE", 2)
    log.add([made(str(number), at=float(number // 2)) for number in range(10)])
    log.add([made("other", at=0.0, tenant="zeta"), made("late", at=9.0, tenant="zeta")])
    assert log.expire(3.0) == 7
    assert [one.created_s for one in log.of_user(ANN)] == [3.0, 3.0, 4.0, 4.0]
    assert log.count() == 5
    assert log.expire(3.0) == 0


def test_of_too_many_the_oldest_go(log):
    log.add([made(str(number), at=float(number)) for number in range(6)])
    assert log.shorten(6) == 0
    assert log.shorten(4) == 2
    assert [one.created_s for one in log.of_user(ANN)] == [2.0, 3.0, 4.0, 5.0]


def test_what_was_said_last_counts_and_the_same_again_changes_nothing(log):
    log.add([made("a")])
    thumb, edit = Statement(rating=1), Statement("edited", edited="Stay.")
    first = log.say(made("a"), thumb)
    assert (first.statement, first.learnt) == (thumb, False)
    assert log.note_learnt(first)
    again = log.say(made("a"), thumb)
    assert again == replace(first, learnt=True)
    second = log.say(made("a"), edit)
    assert (second.statement, second.learnt) == (edit, False)
    # Whoever learnt the first one late does not say that the second was learnt.
    assert not log.note_learnt(first)
    assert log.find("acme", "chatcmpl-a") == second
    assert log.say(made("z"), thumb) is None


def test_a_users_completions_go_with_the_user_and_late_ones_do_not_come_back(log, users):
    log.add([made("a"), made("b", user="bob"), made("c", tenant="zeta")])
    counts = users.delete(ANN)
    assert counts["completions"] == 1
    # It waited in a queue meanwhile.
    assert log.add([made("late"), made("d", user="bob")]) == 1
    assert [log.find(tenant, f"chatcmpl-{name}") is not None for tenant, name in [
        ("acme", "a"), ("acme", "b"), ("zeta", "c"), ("acme", "late"), ("acme", "d")
    ]] == [False, True, True, False, True]  # fmt: skip
    # Who asks again is somebody new.
    assert log.add([made("new", at=4e9)]) == 1


def test_what_an_item_was_made_of_goes_with_the_item(log, users):
    log.add([made("a"), made("b"), made("c"), made("d", user="bob")])
    with users.updating_observations(ANN, "v1", "adapter") as update:
        update.put_event(FeedbackEvent("mine", "asks b", "accepted", "Wait.", completion_id="chatcmpl-b"))
        update.append_history(HistoryItem("mine", "asks b", "Wait."))
        update.put_event(FeedbackEvent("chatcmpl-a", "asks a", "rejected", "Wait."))
    users.delete_item(ANN, "chatcmpl-a")
    users.delete_item(ANN, "mine")
    users.delete_item(ANN, "chatcmpl-d")
    assert [one.id[-1] for one in log.of_user(ANN)] == ["c"]
    assert len(log.of_user(BOB)) == 1
    assert log.add([made("a")]) == 0


def test_moving_a_user_takes_the_completions_along(log, users):
    said = made("a", statement=Statement(rating=1), said_s=2.0)
    log.add([said])
    rows = users.records.rows(ANN)
    users.delete(ANN)
    users.undelete(ANN)
    users.records.put_rows(ANN, rows)
    assert log.of_user(ANN) == [said]
