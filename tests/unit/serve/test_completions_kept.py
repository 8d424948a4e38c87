"""Each chat completion is kept beside the request, and no request waits for that or fails by it."""

import sqlite3
import threading
from contextlib import closing

import pytest
from made_app import SAID

from hydra_ray.records import Candidate, Choice, GateDecision, Generation, Usage, UserKey
from hydra_ray.serve.completions import writer as completion_writer
from hydra_ray.serve.completions.writer import CompletionWriter
from hydra_ray.settings import CompletionLogSettings
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.completions.records import GateOutcome
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import StoreError

ANN = UserKey("acme", "ann")


@pytest.fixture
def app(served, tmp_path):
    app = served(more={"store": {"url": f"sqlite:///{tmp_path}/users.db"}})
    app.generator.answer = lambda request, tenant: Generation(("Calm.", "Go.", "Go."), Usage(1, 5, 3))
    app.adapter.answer = lambda ask, version: Choice(
        tuple(Candidate(one.text, one.votes, score=float(-place)) for place, one in enumerate(ask[1])), personal=True
    )
    yield app
    app.ingress._completions.close()


def kept(app, reply):
    """The completion in the store, once it is written."""
    completion_id = reply.json()["id"]
    assert app.ingress._completions.settle("acme", completion_id, 30)
    return CompletionLog(open_database(app.ingress._settings.store_target)).find("acme", completion_id)


def test_an_answer_is_kept_with_what_it_was_made_of(app):
    reply = app.ask(SAID[-1:], user="ann")
    body, one = reply.json(), kept(app, reply)
    assert (one.tenant, one.user, one.input) == ("acme", "ann", "And now?")
    assert (one.method, one.version, one.head, one.arm, one.propensity) == ("hydra", "v1", "user", None, 1.0)
    assert [(offer.text, offer.votes, offer.score) for offer in one.candidates] == [
        (offer["text"], offer["votes"], offer["score"]) for offer in body["hydra"]["candidates"]
    ]
    assert one.candidates[one.answered].text == body["choices"][0]["message"]["content"]
    assert one.history == ("1",)
    assert one.usage.completion_tokens == body["usage"]["completion_tokens"]
    assert one.request_id == reply.headers["x-request-id"]
    assert (one.streamed, one.statement, one.seconds > 0) == (False, None, True)


def decided(answered, place):
    """An adapter whose gate gives the candidate at a place."""

    def adapt(ask, version):
        offers = tuple(ask[1])
        return Choice(offers, personal=True, gate=GateDecision(answered, offers[place].text, 0.12345, -0.5))

    return adapt


@pytest.mark.parametrize(("answered", "place"), [("hydra", 0), ("vote", 1)])
def test_what_the_gate_decided_is_kept_and_told_and_exported(app, answered, place):
    app.adapter.answer = decided(answered, place)
    reply = app.ask(SAID[-1:], user="ann")
    one, about = kept(app, reply), reply.json()["hydra"]["gate"]
    assert about == {"answered": answered, "gain": 0.1235, "low": -0.5}
    assert one.gate == GateOutcome(answered, 0.12345, -0.5)
    assert one.candidates[one.answered].text == reply.json()["choices"][0]["message"]["content"]
    (row,) = app.client.get("/v1/users/ann/export").json()["tables"]["completions"]
    assert (row["gate_answered"], row["gate_gain"], row["gate_low"]) == (answered, 0.12345, -0.5)


def test_where_no_gate_is_asked_none_is_kept(app):
    app.adapter.answer = decided("vote", 1)
    reply = app.ask(SAID[-1:], user="ann", hydra={"method": "hydra-ungated"})
    assert kept(app, reply).gate is None
    assert reply.json()["hydra"]["gate"] is None


def test_no_two_completions_have_the_same_id(app):
    ids = [app.ask(SAID[-1:], user="ann").json()["id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(one.startswith("chatcmpl-") for one in ids)


def test_a_streamed_answer_is_kept_under_the_id_of_its_chunks(app):
    reply = app.ask(SAID[-1:], user="ann", stream=True)
    completion_id = reply.text.partition('"id": "')[2].partition('"')[0]
    assert app.ingress._completions.settle("acme", completion_id, 30)
    log = CompletionLog(open_database(app.ingress._settings.store_target))
    assert log.find("acme", completion_id).streamed


@pytest.mark.parametrize("who", ["nobody", "switched off", "tenant"])
def test_of_who_is_not_personalised_no_text_is_kept_and_no_name(app, served, tmp_path, who):
    if who == "tenant":
        url = f"sqlite:///{tmp_path}/users.db"
        app = served(more={"store": {"url": url}, "tenants": {"acme": {"personal": False}}})
    if who == "switched off":
        app.client.patch("/v1/users/ann", json={"personalisation": False})
    reply = app.ask(SAID[-1:], **({} if who == "nobody" else {"user": "ann"}))
    one = kept(app, reply)
    assert (one.user, one.input, one.history, one.candidates) == (None, None, (), ())
    assert one.usage.completion_tokens > 0
    with closing(sqlite3.connect(tmp_path / "users.db")) as db:
        (row,) = db.execute("select * from completions").fetchall()
    assert "And now?" not in repr(row)
    assert "ann" not in repr(row)


def test_what_is_kept_of_a_user_is_exported_and_goes_with_the_user(app, tmp_path):
    kept(app, app.ask([{"role": "user", "content": "quokkaberry?"}], user="ann"))
    document = app.client.get("/v1/users/ann/export").json()
    assert [row["input"] for row in document["tables"]["completions"]] == ["quokkaberry?"]
    assert app.client.get("/v1/users/ann").json()["counts"]["completions"] == 1
    # One more is on its way while the user is deleted.
    app.ask([{"role": "user", "content": "quokkaberry again?"}], user="ann")
    assert app.client.delete("/v1/users/ann").json()["counts"]["completions"] >= 1
    app.ingress._completions.close()
    assert all(b"quokkaberry" not in path.read_bytes() for path in tmp_path.iterdir())


def test_the_end_of_a_replica_waits_for_what_is_not_written(app, monkeypatch):
    monkeypatch.setattr(completion_writer, "_GATHER_S", 3600.0)
    with app.client:
        completion_id = app.ask(SAID[-1:], user="ann").json()["id"]
    assert CompletionLog(open_database(app.ingress._settings.store_target)).find("acme", completion_id) is not None


def test_where_nothing_is_to_be_kept_nothing_is(served, tmp_path):
    url = f"sqlite:///{tmp_path}/users.db"
    app = served(more={"store": {"url": url}}, completions={"enabled": False})
    assert app.ask(SAID[-1:], user="ann").status_code == 200
    app.ingress._completions.close()
    assert CompletionLog(open_database(url)).count() == 0


class Broken:
    """A log whose store does not answer until it is mended."""

    def __init__(self):
        self.tried, self.mended, self.added = threading.Event(), False, []

    def add(self, completions):
        self.tried.set()
        if not self.mended:
            raise StoreError("the store is down")
        self.added += completions
        return len(self.added)

    def expire(self, before_s):
        return 0

    def shorten(self, most):
        return 0


def test_a_store_that_is_down_costs_no_request_and_is_written_once_it_is_back(app, monkeypatch, caplog):
    monkeypatch.setattr(completion_writer, "_AGAIN_S", 0.01)
    app.ingress._completions.close()
    broken, lost = Broken(), []
    settings = CompletionLogSettings(queue=2)
    app.ingress._completions = CompletionWriter(broken, settings, lost.append)
    replies = [app.ask(SAID[-1:], user="ann") for _ in range(4)]
    assert {reply.status_code for reply in replies} == {200}
    assert broken.tried.wait(30)
    # The queue takes two, and says once that more are lost.
    assert lost == [1, 1]
    assert caplog.text.count("serve.completions.queue") == 1
    broken.mended = True
    assert app.ingress._completions.settle("acme", replies[1].json()["id"], 30)
    assert [one.id for one in broken.added] == [reply.json()["id"] for reply in replies[:2]]


def test_what_the_store_does_not_take_before_the_end_is_counted(app, monkeypatch, caplog):
    monkeypatch.setattr(completion_writer, "_AGAIN_S", 3600.0)
    app.ingress._completions.close()
    lost = []
    app.ingress._completions = CompletionWriter(Broken(), CompletionLogSettings(), lost.append)
    app.ask(SAID[-1:], user="ann")
    app.ingress._completions.close()
    assert lost == [1]
    assert "1 completions are not kept" in caplog.text


def test_what_is_old_or_too_many_goes_while_serving(app, tmp_path, monkeypatch):
    monkeypatch.setattr(completion_writer, "_TIDY_S", 0.0)
    app.ingress._completions.close()
    log = CompletionLog(open_database(app.ingress._settings.store_target))
    app.ingress._completions = CompletionWriter(log, CompletionLogSettings(max_rows=2), lambda number: None)
    replies = [app.ask(SAID[-1:], user="ann") for _ in range(5)]
    app.ingress._completions.close()
    assert [one.id for one in log.of_user(ANN)] == [reply.json()["id"] for reply in replies[-2:]]
