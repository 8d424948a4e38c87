"""Users' rights over HTTP: what is known, export, preferences, deletion with counts."""

import asyncio
import io
import json

import pyarrow.parquet as pq
import pytest
import torch
from made_app import SAID

from hydra_ray.learn.heads.online import Forgotten
from hydra_ray.models.heads import Head
from hydra_ray.models.heads.online import head_of, pack
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.serve.completions import writer
from hydra_ray.store.rights.protocol import OUTLIVE
from hydra_ray.store.types import ProfileFingerprint, StoreError, UserProfile

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
URL = "/v1/users/ann"
ITEMS = [HistoryItem("a", "Then?", "Wait.", "2026-01-02"), HistoryItem("b", "And?", "Stay.", "2026-03-04")]


def observed(spread):
    """Observations of a group of two texts, so far apart in the space of two bases."""
    return pack(torch.tensor([[spread, 0, 0, 1], [-spread, 0, 0, 0]]).half())


@pytest.fixture
def app(served):
    app = served()
    store = app.ingress._store
    store.put_histories({ANN: ITEMS, BOB: [HistoryItem("z", "Bob's own", "x")]})
    told = {"a": observed(0.5), "b": observed(1.0)}
    store.put_observations("v1", "adapter", {ANN: told})
    head = head_of(list(told.values()), 2, "listwise", {})
    store.put_heads("v1", "adapter", {ANN: head})
    store.put_heads("v0", "reranker", {ANN: Head("dense", {"weight": torch.ones(3)})})
    store.put_profiles([(ANN, UserProfile("pag", "Patient.", ProfileFingerprint("h", "w", 2)))])
    store.put_profiles([(BOB, UserProfile("dpl", "Unlike ann.", ProfileFingerprint("h", "w", 1), (ANN,)))])
    yield app
    for key in (ANN, BOB):
        store.delete(key)


def test_what_is_known_is_told_at_a_glance(app):
    told = app.client.get(URL).json()
    assert (told["id"], told["object"], told["personalisation"]) == ("ann", "user", True)
    assert {name: told["counts"][name] for name in ("history", "heads", "evidence", "profiles")} == {
        "history": 2,
        "heads": 2,
        "evidence": 2,
        "profiles": 1,
    }
    assert told["history"] == {"items": 2, "earliest": "2026-01-02", "latest": "2026-03-04"}
    heads = {(head["version"], head["role"]): head for head in told["heads"]}
    assert {of: (head["kind"], head["serves"]) for of, head in heads.items()} == {
        ("v1", "adapter"): ("bases", True),
        ("v0", "reranker"): ("dense", False),
    }
    assert all(0 <= head["age_s"] < 3600 for head in heads.values())
    assert told["profiles"] == [{"kind": "pag", "text": "Patient.", "degraded": False}]
    # Twice as far apart is four times the spread.
    assert [(one["id"], one["output"], one["share"]) for one in told["teaches_most"]] == [
        ("b", "Stay.", 0.8),
        ("a", "Wait.", 0.2),
    ]


def test_what_teaches_is_not_told_where_the_head_does_not_say(app):
    app.ingress._store.put_heads("v1", "adapter", {ANN: Head("dense", {"weight": torch.ones(3)})})
    assert app.client.get(URL).json()["teaches_most"] is None


def test_of_an_unknown_user_nothing_is_known(app):
    told = app.client.get("/v1/users/nobody-knows").json()
    assert set(told["counts"].values()) == {0}
    assert (told["heads"], told["profiles"], told["teaches_most"]) == ([], [], None)


def test_an_export_is_all_of_the_user_and_of_nobody_else(app):
    reply = app.client.get(f"{URL}/export")
    document = reply.json()
    assert [row["output"] for row in document["tables"]["history"]] == ["Wait.", "Stay."]
    assert {name: len(rows) for name, rows in document["tables"].items()} == {
        name: count for name, count in app.ingress._store.records.counts(ANN).items() if name != "profile_peers"
    }
    assert "bob" not in reply.text.lower()
    # Whose texts were read for Bob's profile is not for Bob to know.
    bobs = app.client.get("/v1/users/bob/export")
    assert "ann" not in bobs.text.replace("Unlike ann.", "")
    assert bobs.json()["left_out"] == {"profile_peers": 1}


def test_an_export_is_parquet_where_that_is_asked_for(app):
    document = app.client.get(f"{URL}/export").json()
    reply = app.client.get(f"{URL}/export", params={"format": "parquet"})
    assert reply.headers["content-type"] == "application/vnd.apache.parquet"
    rows = pq.read_table(io.BytesIO(reply.content)).to_pylist()
    assert {(row["table"], row["row"]) for row in rows} == {
        (name, json.dumps(row)) for name, of in document["tables"].items() for row in of
    }
    assert app.client.get(f"{URL}/export", params={"format": "xml"}).status_code == 400


def test_who_switches_personalisation_off_is_answered_as_nobody_until_they_switch_it_on(app):
    def ask():
        seen = len(app.retriever.asked)
        told = app.ask(SAID[-1:], user="ann").json()["hydra"]
        assert told["user"] == "ann"
        return told["personalised"], told["history"] != [], told["head"], len(app.retriever.asked) > seen

    assert ask() == (True, True, "user", True)
    off = app.client.patch(URL, json={"personalisation": False})
    assert off.json() == {"id": "ann", "object": "user", "personalisation": False}
    assert ask() == (False, False, "shared", False)
    refused = app.client.post(f"{URL}/feedback", json={"input": "x", "accepted": "y"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (409, "user")
    assert app.adapter.learn.asked == []
    assert app.client.get(URL).json()["personalisation"] is False
    assert app.client.get(f"{URL}/export").json()["tables"]["user_preferences"][0]["personalisation"] is False
    assert app.client.patch(URL, json={"personalisation": True}).json()["personalisation"] is True
    assert ask() == (True, True, "user", True)
    assert app.client.post(f"{URL}/feedback", json={"input": "x", "accepted": "y"}).status_code == 200


def test_an_answer_without_a_user_is_not_personalised(app):
    assert app.ask(SAID[-1:]).json()["hydra"]["personalised"] is False


@pytest.mark.parametrize("body", [{}, {"personalisation": "no"}, {"personalisation": 0}, {"personalised": False}])
def test_a_preference_that_cannot_be_read_is_refused(app, body):
    assert app.client.patch(URL, json=body).status_code == 400
    assert app.client.get(URL).json()["personalisation"] is True


def test_where_nobodys_wish_is_known_the_answer_is_nobodys(app, monkeypatch):
    class Down:
        def is_personalised(self, key):
            raise StoreError("the store is down")

    monkeypatch.setattr(type(app.ingress._store), "records", property(lambda store: Down()))
    told = app.ask(SAID[-1:], user="ann").json()["hydra"]
    assert (told["personalised"], told["history"], told["degraded"]) == (False, [], ["preferences"])


def test_deletion_says_how_much_it_was_and_can_be_asked_for_again(app):
    told = app.client.delete(URL).json()
    assert (told["id"], told["deleted"]) == ("ann", True)
    counts = {"history": 2, "heads": 2, "evidence": 2, "profiles": 1, "profiles_of_others": 1, "user_preferences": 0}
    assert {name: told["counts"][name] for name in counts} == counts
    again = app.client.delete(URL).json()
    assert (again["deleted"], set(again["counts"].values())) == (False, {0})
    left = app.client.get(URL).json()["counts"]
    assert {count for name, count in left.items() if name not in OUTLIVE} == {0}
    assert app.client.get("/v1/users/bob/history").json()["data"]


def test_an_answer_that_another_replica_writes_meanwhile_is_removed(app, monkeypatch):
    monkeypatch.setattr(writer, "_LOOK_AGAIN_S", (0.0, 0.0))
    of_an_answer = f"{URL}/history/chatcmpl-{'0' * 32}"
    late = iter([False, True])
    app.adapter.forget.answer = lambda *_: Forgotten(next(late), {})
    assert app.client.delete(of_an_answer).status_code == 200
    app.adapter.forget.asked.clear()
    app.adapter.forget.answer = lambda *_: Forgotten(False, {})
    assert app.client.delete(of_an_answer).status_code == 404
    assert len(app.adapter.forget.asked) == 3
    # What is no id of an answer is not waited for.
    assert app.client.delete(f"{URL}/history/a").status_code == 404
    assert len(app.adapter.forget.asked) == 4


def test_an_answer_that_still_waits_to_be_written_is_not_said_to_be_none(app, monkeypatch):
    monkeypatch.setattr(app.ingress._completions, "settle", lambda *_: False)
    reply = app.client.delete(f"{URL}/history/chatcmpl-{'0' * 32}")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "ask again" in reply.json()["error"]["message"]
    assert app.adapter.forget.asked == []


async def test_every_cache_knows_of_a_deletion_at_the_next_request(app):
    from hydra_ray.steps.index.histories import IndexedHistories
    from hydra_ray.store.backends import open_store
    from hydra_ray.store.cache import HeadCache

    # As another replica has them.
    store = open_store(app.ingress._settings.store_url)
    heads, histories = HeadCache(store, "v1", "adapter", 1 << 20), IndexedHistories(store, 1 << 20, None)
    assert heads([ANN])[0] is not None
    assert len(
        (await histories.of(ANN)).items if hasattr(await histories.of(ANN), "items") else await histories.of(ANN)
    )
    await asyncio.to_thread(app.client.delete, URL)
    assert heads([ANN]) == [None]
    assert len(await histories.of(ANN)) == 0
    assert len(heads) == 0
    store.close()
