"""The shipped kind of head learns while it serves: enough feedback, and the head is what a replay gives."""

import pytest
from feedback_apps import TEXTS, answered, plugged, say
from made_app import Handle
from torch.testing import assert_close

from hydra_ray.learn.heads.online import OnlineLearner
from hydra_ray.learn.heads.replay import replay_users
from hydra_ray.models.base import ADAPTER
from hydra_ray.progress import SILENT
from hydra_ray.records import UserKey
from hydra_ray.runtime.models import catalog_of
from hydra_ray.serve.feedback.refitter import make_refits
from hydra_ray.tasks import TEXT_TASK

ANN = UserKey("acme", "ann")
FIT = {"mode": "zero-call", "min_groups": 1, "steps": 3, "refit_items": 3}


def made(served, scorer, tmp_path, **fit):
    """An app with the shipped kind of head, and the refits that its refitter would do."""
    more = {"store": {"url": f"sqlite:///{tmp_path}/users.db"}, "fit": {**FIT, **fit}}
    app = served(more={**more, "base": {"encoder": {"precision": "float32"}}})
    settings, store = app.ingress._settings, app.ingress._store
    assert settings.fit.head.kind == "lowrank"
    plugged(app, OnlineLearner(store, "v1", TEXT_TASK, scorer(seed=2), settings))
    app.failed = []
    app.refits = make_refits(settings, app.failed.append)
    app.refitter.note = Handle(app.refits.note)
    return app


@pytest.fixture
def app(served, scorer, tmp_path):
    app = made(served, scorer, tmp_path)
    yield app
    app.ingress._completions.close()


def head(app):
    return app.ingress._store.head(ANN, "v1", ADAPTER)


def talk(app, numbers):
    for number in numbers:
        message = [{"role": "user", "content": f"What about subject {number}?"}]
        completion_id = app.ask(message, user="ann").json()["id"]
        reply = say(app, completion_id, verdict="accepted", chosen=number % len(TEXTS))
        assert (reply.status_code, reply.json()["head"]) == (200, "at_next_fit")


def test_a_served_head_changes_after_feedback_without_a_job_and_equals_replay(app):
    talk(app, range(2))
    assert app.refits.round() == []
    talk(app, range(2, 3))
    assert app.refits.round() == [ANN]
    first = head(app)
    assert first.kind == "lowrank"
    talk(app, range(3, 6))
    assert app.refits.round() == [ANN]
    second = head(app)
    assert any((first.tensors[name] != second.tensors[name]).any() for name in first.tensors)
    # From nothing, a replay gives the same.
    settings, store = app.ingress._settings, app.ingress._store
    store.put_heads("v1", ADAPTER, {ANN: None})
    with catalog_of(settings) as catalog:
        folder = catalog.registry.fetch("v1")
    data = settings.data.model_copy(update={"format": "store"})
    replay_users(settings.model_copy(update={"data": data}), folder, store, [ANN], SILENT)
    assert_close(head(app).tensors, second.tensors, rtol=1e-4, atol=1e-5)


def test_history_that_is_told_counts_too(app):
    items = [{"id": str(n), "input": f"asks {n}", "output": f"answer {n}"} for n in range(3)]
    app.client.post("/v1/users/ann/history", json={"items": items})
    assert app.refitter.note.asked == [(ANN,)]
    assert app.refits.round() == [ANN]


def test_a_refitter_that_is_down_fails_no_feedback(app, caplog):
    def down(*_):
        raise RuntimeError("the refitter is gone")

    app.refitter.note.answer = down
    assert say(app, answered(app), rating=1).status_code == 200
    assert "the refitter" in caplog.text


def test_heads_are_not_fitted_without_what_was_collected(served, scorer, tmp_path, caplog):
    app = made(served, scorer, tmp_path, mode="llm")
    talk(app, range(3))
    assert app.refits.round() == []
    assert app.failed == [1]
    assert "would forget what was collected" in caplog.text
    assert head(app) is None
    app.ingress._completions.close()
