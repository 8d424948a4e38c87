"""Apps whose adapter learns as the real one does, and what users say to them."""

from made_app import SAID

from hydra_ray.records import Candidate, Choice, Generation, Usage

TEXTS = ("Calm down now.", "Go away at once.", "Wait a little.")


def plugged(app, learner):
    """The app, with an LLM that offers three texts and an adapter that learns."""
    app.generator.answer = lambda request, tenant: Generation(TEXTS, Usage(1, 5, 3))
    app.adapter.answer = lambda ask, version: Choice(
        tuple(Candidate(one.text, one.votes, score=float(-place)) for place, one in enumerate(ask[1])), personal=True
    )
    app.learner = learner
    app.adapter.learn.answer = learner.learn
    return app


def answered(app, **more):
    """Id of a completion that Ann got."""
    return app.ask(SAID[-1:], **{"user": "ann", **more}).json()["id"]


def say(app, completion_id, headers=None, **body):
    """Says something of a completion."""
    return app.client.post("/v1/feedback", json={"id": completion_id, **body}, headers=headers)
