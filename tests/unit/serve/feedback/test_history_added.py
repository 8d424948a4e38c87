"""What users did elsewhere is added to their history, each item once, and counts at the next request."""

import asyncio
import json

import pytest

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.serve.feedback.history import History
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.steps.index.histories import IndexedHistories
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import FeedbackEvent

ANN = UserKey("acme", "ann")
URL = "/v1/users/ann/history"
ONE = {"id": "a", "input": "Then?", "output": "Wait.", "ts": "2026-01-02"}
TWO = {"id": "b", "input": "And?", "output": "Stay.", "item_id": "film-1", "context": "a title"}


@pytest.fixture
def app(served, tmp_path):
    return served(more={"store": {"url": f"sqlite:///{tmp_path}/users.db"}, "tenants": {"zeta": {}}})


def history(app):
    return app.ingress._store.history(ANN)


def test_one_and_many_are_added_and_twice_the_same_is_once(app):
    assert app.client.post(URL, json=ONE).json() == {
        "object": "history.added",
        "user": "ann",
        "added": 1,
        "updated": 0,
        "unchanged": 0,
    }
    counts = app.client.post(URL, json={"items": [ONE, TWO]}).json()
    assert (counts["added"], counts["updated"], counts["unchanged"]) == (1, 0, 1)
    assert history(app) == (
        HistoryItem("a", "Then?", "Wait.", "2026-01-02"),
        HistoryItem("b", "And?", "Stay.", None, "film-1", "a title"),
    )
    version = app.ingress._store.history_version(ANN)
    assert app.client.post(URL, json={"items": [TWO, ONE]}).json()["unchanged"] == 2
    assert app.ingress._store.history_version(ANN) == version
    changed = app.client.post(URL, json={**ONE, "output": "Go."}).json()
    assert (changed["added"], changed["updated"]) == (0, 1)
    assert {item.id: item.output for item in history(app)} == {"a": "Go.", "b": "Stay."}


@pytest.mark.parametrize("rerank", [False, True])
def test_who_encodes_items_is_told_of_what_is_new_and_of_nothing_else(served, tmp_path, rerank):
    app = served(more={"store": {"url": f"sqlite:///{tmp_path}/users.db"}, "method": {"rerank": rerank}})
    app.client.post(URL, json={"items": [ONE, TWO]})
    items = tuple(history(app))
    assert app.adapter.encode_ahead.asked == [(ANN, items)]
    assert app.reranker.encode_ahead.asked == ([(ANN, items)] if rerank else [])
    app.client.post(URL, json={"items": [TWO, ONE]})
    assert app.adapter.encode_ahead.asked == [(ANN, items)]


def test_who_encodes_items_may_be_down(served, tmp_path, caplog):
    app = served(more={"store": {"url": f"sqlite:///{tmp_path}/users.db"}, "method": {"rerank": True}})

    def down(*_):
        raise RuntimeError("the replica is gone")

    app.reranker.encode_ahead.answer = down
    assert app.client.post(URL, json=ONE).status_code == 200
    assert app.adapter.encode_ahead.asked == [(ANN, tuple(history(app)))]
    assert "items of a user are not encoded ahead" in caplog.text


async def test_it_counts_at_the_next_request_of_every_replica(app):
    # As another replica has it.
    store = open_store(app.ingress._settings.store_target)
    histories = IndexedHistories(store, 1 << 20, None)
    assert len(await histories.of(ANN)) == 0
    await asyncio.to_thread(app.client.post, URL, json=ONE)
    assert len(await histories.of(ANN)) == 1
    store.close()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"items": []}, "items"),
        ({"input": "x", "output": "y"}, "items[0].id"),
        ({**ONE, "output": " "}, "items[0].output"),
        ({**ONE, "ts": "soon"}, "items[0].ts"),
        ({**ONE, "score": 1}, "items[0].score"),
        ({**ONE, "context": "half \ud83d"}, "items[0].context"),
        ({"items": [ONE, {**ONE, "input": "x"}]}, "the body"),
        ({"items": [{**ONE, "id": str(number)} for number in range(501)]}, "items"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_field_and_nothing_is_kept(app, body, field):
    reply = app.client.post(URL, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(field)
    assert history(app) == ()


def test_an_answer_that_the_task_does_not_allow_is_refused(tag_task):
    with pytest.raises(RequestError, match=r"items\[0\]\.output: 'Wait\.' is not among the allowed answers: comedy"):
        History.model_validate(ONE).read(tag_task)
    assert History.model_validate({**ONE, "output": " Drama."}).read(tag_task)[0].output == "drama"


def test_what_feedback_said_is_not_changed_by_the_way(app):
    with app.ingress._store.updating_observations(ANN, "v1", "adapter") as update:
        update.put_event(FeedbackEvent("a", "Then?", "accepted", "Wait."))
        update.append_history(HistoryItem("a", "Then?", "Wait."))
    reply = app.client.post(URL, json={**ONE, "output": "Go."})
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "said_by_feedback")
    same = {"id": "a", "input": "Then?", "output": "Wait."}
    assert app.client.post(URL, json=same).json()["unchanged"] == 1


def test_who_switched_personalisation_off_gets_no_history(app):
    app.client.patch("/v1/users/ann", json={"personalisation": False})
    assert app.client.post(URL, json=ONE).status_code == 409
    assert history(app) == ()


def test_who_was_deleted_comes_back_with_what_is_told_from_then_on(app):
    app.client.post(URL, json={"items": [ONE, TWO]})
    app.client.delete("/v1/users/ann")
    app.client.post(URL, json=ONE)
    assert [item.id for item in history(app)] == ["a"]


def test_an_item_may_name_the_answer_that_the_user_would_not_have(app):
    assert app.client.post(URL, json={**ONE, "rejected": "Go."}).json()["added"] == 1
    assert history(app) == (HistoryItem("a", "Then?", "Wait.", "2026-01-02", rejected="Go."),)
    assert app.client.get(URL).json()["data"][0]["rejected"] == "Go."
    reply = app.client.post(URL, json={**TWO, "rejected": "Stay."})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "items[0].rejected")
