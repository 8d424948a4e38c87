"""An id and a thumb are enough: the server knows the rest, heads learn at once, and twice the same is once."""

import itertools
from dataclasses import replace

import pytest
from feedback_apps import TEXTS, answered, plugged, say
from hypothesis import given, settings
from hypothesis import strategies as st
from made_app import ITEM

from hydra_ray.learn.heads.online import OnlineLearner
from hydra_ray.methods.ports import StepError
from hydra_ray.models.base import ADAPTER
from hydra_ray.records import UserKey
from hydra_ray.serve.completions import writer
from hydra_ray.serve.feedback import endpoint
from hydra_ray.serve.http.principal import Caller
from hydra_ray.settings import Settings
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.tasks import TEXT_TASK

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
BASES = Settings.model_validate({"fit": {"head": {"kind": "bases"}}})


class ByHeader:
    """Callers say of which tenant they are, with which scopes, and for whom."""

    async def __call__(self, headers, peer):
        scopes = frozenset(headers.get("x-scopes", "chat").split())
        return Caller(headers.get("x-tenant", "acme"), "k1", scopes, headers.get("x-user"))


def learning(app, scorer):
    """An app whose heads are of the kind that learns at once."""
    return plugged(app, OnlineLearner(app.ingress._store, "v1", TEXT_TASK, scorer, BASES))


@pytest.fixture
def app(served, scorer, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_LOOK_AGAIN_S", ())
    more = {"store": {"url": f"sqlite:///{tmp_path}/users.db"}, "tenants": {"zeta": {}}}
    app = learning(served(authenticate=ByHeader(), more=more), scorer())
    yield app
    app.ingress._completions.close()


def kept(app, completion_id):
    """The completion in the store, once it is written."""
    assert app.ingress._completions.settle("acme", completion_id, 30)
    return app.ingress._feedback._log.find("acme", completion_id)


def events(app, key=ANN):
    return app.ingress._store.feedback_events([key]).get(key, [])


@pytest.mark.parametrize(
    ("body", "said", "text"),
    [
        ({"verdict": "accepted"}, "accepted", TEXTS[0]),
        ({"verdict": "accepted", "chosen": 2}, "accepted", TEXTS[2]),
        ({"chosen": 1}, "accepted", TEXTS[1]),
        ({"verdict": "rejected"}, "rejected", TEXTS[0]),
        ({"verdict": "regenerated"}, "rejected", TEXTS[0]),
        ({"verdict": "edited", "edited": "Calm down, please."}, "edited", "Calm down, please."),
        ({"edited": "Calm down, please.", "chosen": 1}, "edited", "Calm down, please."),
        ({"rating": 1}, "accepted", TEXTS[0]),
        ({"rating": -1}, "rejected", TEXTS[0]),
        # What became of the answer counts more than how it was rated.
        ({"rating": -1, "verdict": "accepted"}, "accepted", TEXTS[0]),
    ],
)
def test_what_is_said_becomes_the_event_that_all_of_it_sent_along_would_be(app, body, said, text):
    completion_id = answered(app)
    reply = say(app, completion_id, **body)
    assert reply.status_code == 200, reply.text
    (event,) = events(app)
    assert (event.item_id, event.completion_id, event.input) == (completion_id, completion_id, "And now?")
    assert (event.said, event.text, event.candidates, event.votes) == (said, text, TEXTS, (6, 6, 6))
    assert (event.method, event.propensity, event.version) == ("hydra", 1.0, "v1")
    assert reply.json() == {
        "id": completion_id,
        "object": "feedback",
        "history": said != "rejected",
        "learnt": True,
        "head": "created",
        "note": "",
    }
    assert [item.output for item in app.ingress._store.history(ANN)] == ([text] if said != "rejected" else [])
    one = kept(app, completion_id)
    assert one.learnt
    wanted = {"reaction": body.get("verdict"), "rating": body.get("rating"), "edited": body.get("edited")}
    if "verdict" not in body and "rating" not in body:
        wanted["reaction"] = "edited" if "edited" in body else "accepted"
    assert {name: getattr(one.statement, name) for name in wanted} == wanted


def test_an_answer_of_which_nothing_was_said_is_removed_by_its_id(app):
    app.adapter.forget.answer = app.learner.forget
    users = {"x-scopes": "users"}
    completion_id, other = answered(app), answered(app)
    place = f"/v1/users/ann/history/{completion_id}"
    # At once, while it waits to be written; of nobody else.
    assert app.client.delete(place.replace("ann", "bob"), headers=users).status_code == 404
    removed = app.client.delete(place, headers=users)
    assert (removed.status_code, removed.json()["deleted"]) == (200, True)
    assert app.client.delete(place, headers=users).status_code == 404
    assert [one.id for one in app.ingress._feedback._log.of_user(ANN)] == [other]
    assert say(app, completion_id, rating=1).status_code == 404
    assert [entry.detail for entry in app.ingress._audit.entries()] == [{"item": completion_id}]


def test_the_head_prefers_what_was_accepted_at_once(app):
    say(app, answered(app), verdict="accepted", chosen=1)
    head, scorer = app.ingress._store.head(ANN, "v1", ADAPTER), app.learner._scorer
    texts = [(text, "And now?", "") for text in TEXTS]
    gained = scorer.score(texts, [head] * 3) - scorer.score(texts, [None] * 3)
    assert gained[1] > gained[0]


def test_who_encodes_items_is_told_of_what_was_accepted_and_not_of_what_was_rejected(app):
    say(app, answered(app), verdict="rejected", chosen=0)
    say(app, answered(app), verdict="accepted", chosen=1)
    (item,) = app.ingress._store.history(ANN)
    assert app.adapter.encode_ahead.asked == [(ANN, (item,))]


@pytest.mark.parametrize(
    ("stars", "said"), [(1, "rejected"), (2, "rejected"), (3, "neutral"), (4, "accepted"), (5, "accepted")]
)
def test_stars_are_read_on_their_own_scale(served, scorer, tmp_path, stars, said):
    app = learning(served(more={"store": {"url": f"sqlite:///{tmp_path}/users.db"}}, ratings="stars"), scorer())
    reply = say(app, answered(app), rating=stars)
    assert [event.said for event in events(app)] == [said]
    assert reply.json()["learnt"] == (said != "neutral")
    app.ingress._completions.close()


def test_a_rating_of_another_scale_is_refused_with_the_setting_that_says_so(app):
    completion_id = answered(app)
    reply = say(app, completion_id, rating=5)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "rating")
    assert "serve.ratings: thumbs" in reply.json()["error"]["message"]
    assert events(app) == []
    assert kept(app, completion_id).statement is None


def test_a_neutral_word_takes_back_what_was_learnt(served, scorer, tmp_path):
    app = learning(served(more={"store": {"url": f"sqlite:///{tmp_path}/users.db"}}, ratings="stars"), scorer())
    completion_id = answered(app)
    say(app, completion_id, rating=5)
    reply = say(app, completion_id, rating=3)
    assert (reply.json()["head"], reply.json()["history"]) == ("removed", False)
    assert app.ingress._store.head(ANN, "v1", ADAPTER) is None
    assert app.ingress._store.history(ANN) == ()
    app.ingress._completions.close()


STATEMENTS = st.sampled_from(
    [
        {"verdict": "accepted"},
        {"verdict": "rejected", "chosen": 1},
        {"edited": "Quite another text."},
        {"verdict": "regenerated"},
        {"rating": 1, "chosen": 2},
        {"rating": -1},
    ]
)


@settings(max_examples=25)
@given(said=st.lists(STATEMENTS, min_size=1, max_size=4), again=st.lists(st.integers(1, 3), min_size=4, max_size=4))
def test_saying_it_again_is_saying_it_once_and_the_last_word_counts(lasting_app, said, again):
    app, store = lasting_app, lasting_app.ingress._store
    user = UserKey("acme", f"user-{next(app.numbers)}")
    twin = UserKey("acme", f"{user.user}-twin")
    one, other = answered(app, user=user.user), answered(app, user=twin.user)
    for statement, times in zip(said, again, strict=False):
        say(app, one, **statement)
        before = store.feedback_events([user]), store.stamps([user], "v1", ADAPTER), store.history_version(user)
        for _ in range(times):
            reply = say(app, one, **statement)
            assert (reply.status_code, reply.json()["head"]) == (200, "unchanged")
        now = store.feedback_events([user]), store.stamps([user], "v1", ADAPTER), store.history_version(user)
        assert now == before
    # Who said the last word alone knows the same.
    say(app, other, **said[-1])
    (mine,), (theirs,) = (store.feedback_events([key])[key] for key in (user, twin))
    plain = {"item_id": "", "completion_id": "", "said_at": ""}
    assert replace(mine, **plain) == replace(theirs, **plain)
    assert [(item.input, item.output) for item in store.history(user)] == [
        (item.input, item.output) for item in store.history(twin)
    ]
    heads = [store.head(key, "v1", ADAPTER) for key in (user, twin)]
    assert heads[0].tensors["mean"].allclose(heads[1].tensors["mean"], atol=1e-5)


@pytest.fixture(scope="module")
def lasting_app(served, scorer, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('feedback')}/users.db"
    app = learning(served(more={"store": {"url": url}}), scorer())
    app.numbers = itertools.count()
    yield app
    app.ingress._completions.close()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "the body"),
        ({"verdict": "liked"}, "verdict"),
        ({"verdict": "edited"}, "the body"),
        ({"verdict": "accepted", "edited": "x"}, "the body"),
        ({"rating": True}, "rating"),
        ({"rating": 1.0}, "rating"),
        ({"rating": 0}, "rating"),
        ({"rating": 1, "chosen": -1}, "chosen"),
        ({"rating": 1, "chosen": 3}, "chosen"),
        ({"edited": "  "}, "edited"),
        ({"rating": 1, "thumb": "up"}, "thumb"),
    ],
)
def test_what_says_nothing_that_can_be_read_is_refused_and_names_the_field(app, body, field):
    completion_id = answered(app)
    reply = say(app, completion_id, **body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(field)
    assert kept(app, completion_id).statement is None
    assert events(app) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Scopes": "chat"}, 200),
        ({"X-Scopes": "users"}, 200),
        ({"X-Scopes": "chat", "X-User": "ann"}, 200),
        ({"X-Scopes": "admin"}, 403),
        ({"X-Scopes": "chat", "X-User": "bob"}, 404),
        ({"X-Scopes": "chat users", "X-Tenant": "zeta"}, 404),
    ],
)
def test_who_may_ask_may_say_how_good_it_was_of_their_own_tenant_and_user_alone(app, headers, status):
    completion_id = answered(app)
    assert say(app, completion_id, headers, rating=1).status_code == status
    assert len(events(app)) == (status == 200)


def test_a_completion_that_nobody_knows_is_not_found_and_looked_for_for_a_moment(app, monkeypatch):
    looked = []
    monkeypatch.setattr(writer, "_LOOK_AGAIN_S", (0.0, 0.0))
    monkeypatch.setattr(CompletionLog, "find", lambda self, tenant, one: looked.append(one))
    unknown = f"chatcmpl-{'0' * 32}"
    reply = say(app, unknown, rating=1)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "completion_not_found")
    assert "not written yet" in reply.json()["error"]["message"]
    assert len(looked) == 3
    # What is no id of ours is not waited for.
    assert say(app, "resp_1", rating=1).status_code == 404
    assert len(looked) == 4


def test_a_completion_that_another_replica_writes_meanwhile_is_found(app, monkeypatch):
    monkeypatch.setattr(writer, "_LOOK_AGAIN_S", (0.0, 0.0))
    completion_id, find = answered(app), CompletionLog.find
    late = iter([None])
    monkeypatch.setattr(CompletionLog, "find", lambda *args: next(late, find(*args)))
    assert say(app, completion_id, rating=1).json()["learnt"]


def test_after_some_days_nothing_is_said_any_more(app, monkeypatch):
    completion_id = answered(app)
    later = endpoint.time.time() + 14 * 86_400 + 60
    monkeypatch.setattr(endpoint.time, "time", lambda: later)
    reply = say(app, completion_id, rating=1)
    assert (reply.status_code, reply.json()["error"]["code"]) == (410, "feedback_too_late")
    assert "serve.feedback_days" in reply.json()["error"]["message"]


def test_of_nobodys_answer_a_thumb_is_kept_and_nobody_learns(app):
    completion_id = answered(app, user=None)
    reply = say(app, completion_id, rating=1)
    assert (reply.json()["learnt"], reply.json()["head"]) == (False, "unchanged")
    assert "nobody" in reply.json()["note"]
    assert kept(app, completion_id).statement.rating == 1


def test_who_switched_personalisation_off_is_not_learnt_from(app):
    completion_id = answered(app)
    app.ingress._store.records.personalise(ANN, False)
    assert say(app, completion_id, rating=1).status_code == 409
    assert kept(app, completion_id).statement is None


def test_feedback_on_what_was_deleted_does_not_bring_the_user_back(app):
    completion_id = answered(app)
    assert say(app, completion_id, rating=1).status_code == 200
    app.ingress._store.delete(ANN)
    assert say(app, completion_id, rating=-1).status_code == 404
    assert (events(app), app.ingress._store.history(ANN)) == ([], ())


def test_what_could_not_be_learnt_is_learnt_when_it_is_said_again(app):
    completion_id = answered(app)
    learn = app.adapter.learn.answer

    def down(*_):
        raise StepError("the adapter gave no answer")

    app.adapter.learn.answer = down
    reply = say(app, completion_id, rating=1)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
    assert not kept(app, completion_id).learnt
    app.adapter.learn.answer = learn
    assert say(app, completion_id, rating=1).json()["learnt"]


def test_the_last_word_is_learnt_whoever_learns_last(app):
    """Another replica takes the opposite word while this one learns, and has learnt it before."""
    completion_id = answered(app)
    learn, meanwhile = app.adapter.learn.answer, [True]

    def slow(*args):
        if meanwhile.pop() if meanwhile else False:
            assert say(app, completion_id, verdict="rejected").json()["learnt"]
        return learn(*args)

    app.adapter.learn.answer = slow
    say(app, completion_id, verdict="accepted")
    assert [event.said for event in events(app)] == ["rejected"]
    assert kept(app, completion_id).learnt


def test_the_adapter_reads_beside_it_what_it_read_when_it_chose(app):
    app.ingress._store.append_history(ANN, ITEM)
    completion_id = answered(app)
    app.retriever.asked.clear()
    say(app, completion_id, rating=1)
    assert app.adapter.learn.asked[-1][2] == (ITEM,)
    assert app.retriever.asked == []


def test_where_completions_are_not_kept_that_is_said(served):
    reply = say(served(completions={"enabled": False}), f"chatcmpl-{'0' * 32}", rating=1)
    assert reply.status_code == 404
    assert "serve.completions.enabled" in reply.json()["error"]["message"]
