"""Feedback takes along what was known of its user when it came in, so that a deletion meanwhile is noticed."""

from hydra_ray.learn.heads.online import Learnt
from hydra_ray.records import UserKey
from hydra_ray.store.backends import open_store

FEEDBACK = {"input": "Reply to: lunch?", "accepted": "Yes", "candidates": ["No"], "id": "1"}
KEY = UserKey("acme", "ann")


def test_feedback_tells_how_often_its_user_was_deleted_before_anything_else_is_asked(served):
    app = served(method="rag")
    store = open_store(app.ingress._settings.store_target)
    before = store.deletions(KEY)
    app.client.post("/v1/users/ann/feedback", json=FEEDBACK)
    store.delete(KEY)
    app.client.post("/v1/users/ann/feedback", json=FEEDBACK)
    assert [seen[-1] for seen in app.adapter.learn.asked] == [before, before + 1]
    store.close()


def test_what_came_too_late_is_said(served):
    app = served(method="rag")
    app.adapter.learn = type(app.adapter)(lambda *_: Learnt("unchanged", False, "was deleted", kept=False))
    said = app.client.post("/v1/users/ann/feedback", json=FEEDBACK).json()
    assert (said["history"], said["learnt"], said["note"]) == (False, False, "was deleted")
