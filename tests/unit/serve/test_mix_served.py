"""Candidates of several prompts over HTTP: the answer says which prompts gave each, and so does the completion log."""

import pytest
from made_app import SAID

from hydra_ray.records import Generation, Usage
from hydra_ray.steps.generate import GenerateError
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.schema import open_database

MIX = {"candidates": 3, "prompts": [{"prompt": "zero-shot", "samples": 2}, {"prompt": "recent", "samples": 1}]}


@pytest.fixture
def app(served, tmp_path):
    def make(**method):
        app = served(more={"store": {"url": f"sqlite:///{tmp_path}/users.db"}, "method": method})
        app.generator.answer = lambda request, tenant: Generation(
            (("Go.",) if request.temperature else ("Calm.",)) * request.n, Usage(1, 5, 3)
        )
        apps.append(app)
        return app

    apps = []
    yield make
    for one in apps:
        one.ingress._completions.close()


def offered(reply):
    return {one["text"]: [tuple(source.values()) for source in one["sources"]] for one in reply["hydra"]["candidates"]}


def told(candidates):
    return {one.text: [(s.prompt, s.votes, s.greedy) for s in one.sources] for one in candidates}


def kept(app, reply):
    assert app.ingress._completions.settle("acme", reply["id"], 30)
    return CompletionLog(open_database(app.ingress._settings.store_target)).find("acme", reply["id"]).candidates


def test_an_answer_and_its_completion_say_where_candidates_come_from(app):
    app = app(**MIX)
    reply = app.ask(SAID[-1:], user="ann").json()
    assert offered(reply) == {
        "Calm.": [("zero-shot", 1, True), ("recent", 1, True)],
        "Go.": [("zero-shot", 1, False)],
    }
    assert told(kept(app, reply)) == told(app.adapter.asked[-1][0][1]) == offered(reply)


def test_of_one_prompt_the_completion_log_keeps_what_it_kept(app):
    app = app(candidates=3)
    reply = app.ask(SAID[-1:], user="ann").json()
    assert offered(reply) == {"Calm.": [("bm25", 1, True)], "Go.": [("bm25", 2, False)]}
    assert all(not one.sources for one in kept(app, reply))


def test_a_prompt_that_is_not_answered_is_named(app):
    app = app(**MIX)

    def answer(request, tenant):
        if len(request.messages) > 1:
            raise GenerateError("down", "timeout", transient=True)
        return Generation(("Calm.",) * request.n, Usage(1, 5, 3))

    app.generator.answer = answer
    assert app.ask(SAID[-1:], user="ann").json()["hydra"]["degraded"] == ["prompt:recent"]
