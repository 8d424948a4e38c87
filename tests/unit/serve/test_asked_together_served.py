"""A prompt's requests are one call of the generator's deployment, under deadline and breaker as one by one."""

import asyncio

import pytest
from made_app import SAID
from ray.exceptions import ActorDiedError
from tenacity import wait_fixed

from hydra_ray.records import Generation, Usage
from hydra_ray.serve.faults import calls
from hydra_ray.steps.generate import GenerateError

SAMPLES = {"method": {"candidates": 4}}


@pytest.fixture
def app(served):
    def make(answer=None, **serve):
        app = served(more=SAMPLES, **serve)
        app.generator.answer = answer or (lambda request, tenant: Generation(("Calm.",) * request.n, Usage(1, 5, 1)))
        return app

    return make


def test_greedy_answer_and_samples_are_one_call(app):
    app = app()
    reply = app.ask(SAID[-1:], user="ann").json()
    ((requests, tenant),) = app.generator.all.asked
    assert [(one.temperature == 0, one.n) for one in requests] == [(True, 1), (False, 3)]
    assert tenant == "acme"
    assert [one["votes"] for one in reply["hydra"]["candidates"]] == [4]
    assert reply["usage"]["prompt_tokens"] == 10


def test_of_one_request_the_deployment_is_asked_as_before(app):
    app = app()
    assert app.ask(SAID[-1:], hydra={"method": "rag"}).status_code == 200
    assert (app.generator.all.asked, len(app.generator.asked)) == ([], 1)


def test_each_request_that_fails_counts_for_the_breaker(app):
    def fails(request, tenant):
        raise GenerateError("no luck", "server", transient=True)

    app = app(fails, breaker={"failures": 4, "open_s": 600})
    assert [app.ask(SAID[-1:]).status_code for _ in range(3)] == [502, 502, 503]
    assert len(app.generator.all.asked) == 2


def test_one_that_is_answered_shows_that_the_llm_is_there(app):
    def halves(request, tenant):
        if request.temperature == 0:
            raise GenerateError("no luck", "server", transient=True)
        return Generation(("Calm.",) * request.n, Usage(1, 5, 1))

    app = app(halves, breaker={"failures": 2, "open_s": 600})
    assert [app.ask(SAID[-1:]).status_code for _ in range(4)] == [502] * 4
    assert app.ingress._steps.breakers.of("generator").state == "closed"


def test_a_call_that_takes_too_long_is_given_up(app):
    ends = []

    async def hangs(request, tenant):
        try:
            await asyncio.sleep(600)
        finally:
            ends.append(request.temperature == 0)

    app = app(hangs, generator_timeout_s=0.5, breaker={"failures": 1, "open_s": 600})
    reply = app.ask(SAID[-1:])
    assert (reply.status_code, "took more than 0.5 s" in reply.text) == (502, True)
    assert sorted(ends) == [False, True]
    assert app.ask(SAID[-1:]).status_code == 503


def test_another_replica_is_asked_all_of_it_where_one_dies(app, monkeypatch):
    monkeypatch.setattr(calls, "_WAIT", wait_fixed(0))
    app = app()
    works = app.generator.all.answer

    def dies_first(*arguments):
        if len(app.generator.all.asked) == 1:
            raise ActorDiedError()
        return works(*arguments)

    app.generator.all.answer = dies_first
    assert app.ask(SAID[-1:]).status_code == 200
    first, second = app.generator.all.asked
    assert first == second
