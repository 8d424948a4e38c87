"""The query is encoded while others work, and its encoding is handed to the adapter, which does without it, too."""

import asyncio

import numpy as np
import pytest
from made_app import SAID
from ray.exceptions import ActorDiedError, RayError
from ray.serve.exceptions import BackPressureError
from tenacity import wait_fixed

from hydra_ray.models.encodings import Encoding
from hydra_ray.serve import ports
from hydra_ray.serve.encodings.of_query import QueryEncodings
from hydra_ray.serve.faults import calls
from hydra_ray.steps.generate import GenerateError

ENCODING = Encoding("minilm", np.ones(384, np.float32))


@pytest.fixture
def app(served):
    def make(**more):
        app = served(method="hydra-adapter", **more)
        app.adapter.encode.answer = lambda text, version: ENCODING
        return app

    return make


def asks(app, text="And now?", **more):
    """What was degraded of an answer."""
    reply = app.ask([{"role": "user", "content": text}], user="ann", **more)
    assert reply.status_code == 200
    return reply.json()["hydra"]["degraded"]


def handed(app):
    """Encodings that the adapter was handed."""
    return [ask[-2] for ask, _ in app.adapter.asked]


def test_it_is_begun_before_the_llm_has_answered_and_waited_for(app):
    app = app()
    begun, answered, llm = asyncio.Event(), asyncio.Event(), app.generator.answer

    async def generate(*arguments):
        await begun.wait()
        answered.set()
        return llm(*arguments)

    async def encode(text, version):
        begun.set()
        await answered.wait()
        # Others go first.
        await asyncio.sleep(0.01)
        return ENCODING

    app.generator.answer, app.adapter.encode.answer = generate, encode
    assert asks(app) == []
    assert app.adapter.encode.asked == [("And now?", "v1")]
    (found,) = handed(app)
    assert (found.encoder, found.vector.tolist()) == ("minilm", ENCODING.vector.tolist())


def test_what_was_asked_before_is_not_encoded_again(app):
    app = app()
    assert [asks(app, text) for text in ("Once?", "Twice?", "Once?")] == [[], [], []]
    assert [text for text, _ in app.adapter.encode.asked] == ["Once?", "Twice?"]
    assert [found.encoder for found in handed(app)] == ["minilm"] * 3


@pytest.mark.parametrize("method", ["hydra-reranker", "rag"])
def test_of_methods_that_do_not_adapt_nothing_is_encoded(app, method):
    app = app(more={"method": {"rerank": True}})
    asks(app, hydra={"method": method})
    assert app.adapter.encode.asked == []


def test_where_the_adapter_keeps_no_encodings_none_is_asked_for(app):
    app = app(encoding_cache_mb=0)
    assert asks(app) == []
    assert (app.adapter.encode.asked, handed(app)) == ([], [None])


def fails(*_):
    raise RayError("gone")


def test_one_that_fails_costs_the_answer_nothing_and_is_logged(app, caplog):
    app = app(breaker={"failures": 2, "open_s": 600})
    app.adapter.encode.answer = fails
    assert [asks(app, f"{number}?") for number in range(4)] == [[]] * 4
    assert handed(app) == [None] * 4
    # Its own breaker is open, and the adapter's is not.
    assert len(app.adapter.encode.asked) == 2
    states = app.ingress._steps.breakers.states()
    assert (states["encoder"], states["adapter"]) == ("open", "closed")
    assert "the encoder gave no answer" in caplog.text
    assert "gone" in caplog.text


def test_a_full_queue_is_no_failure_of_it(app):
    app = app(breaker={"failures": 1, "open_s": 600})
    works = app.adapter.encode.answer

    def full(*_):
        raise BackPressureError(num_queued_requests=1, max_queued_requests=1)

    app.adapter.encode.answer = full
    assert asks(app, "First?") == []
    app.adapter.encode.answer = works
    assert asks(app, "Second?") == []
    assert [found is None for found in handed(app)] == [True, False]


def test_another_replica_is_asked_where_one_dies(app, monkeypatch):
    monkeypatch.setattr(calls, "_WAIT", wait_fixed(0))
    app = app()

    def dies_first(*_):
        if len(app.adapter.encode.asked) == 1:
            raise ActorDiedError()
        return ENCODING

    app.adapter.encode.answer = dies_first
    assert asks(app) == []
    assert len(app.adapter.encode.asked) == 2
    assert handed(app)[0].encoder == "minilm"


def test_one_that_takes_long_is_not_waited_for(app, monkeypatch, caplog):
    monkeypatch.setattr(ports, "_PATIENCE_S", 0.05)
    app = app(breaker={"failures": 1, "open_s": 600})
    app.adapter.encode.answer = lambda *_: asyncio.sleep(600)
    assert asks(app, "First?") == []
    assert "not there after 0.05 s more" in caplog.text
    assert asks(app, "Second?") == []
    assert len(app.adapter.encode.asked) == 1
    assert handed(app) == [None, None]


def test_a_client_that_waits_for_a_moment_does_not_close_it_to_others(app):
    app = app(breaker={"failures": 1, "open_s": 600})
    works, app.adapter.encode.answer = app.adapter.encode.answer, lambda *_: asyncio.sleep(600)
    body = {"model": "hydra", "messages": SAID[-1:], "user": "ann"}
    reply = app.client.post("/v1/chat/completions", json=body, headers={"X-Request-Timeout": "1"})
    assert (reply.status_code, reply.json()["hydra"]["degraded"]) == (200, [])
    app.adapter.encode.answer = works
    assert asks(app, "Second?") == []
    assert handed(app)[-1].encoder == "minilm"


def test_an_adapter_that_is_not_asked_is_not_asked_to_encode(app):
    app = app(breaker={"failures": 2, "open_s": 600})
    app.adapter.answer = fails
    assert [asks(app, f"{number}?") for number in range(4)] == [["adapter"]] * 4
    assert len(app.adapter.encode.asked) == 2


@pytest.mark.parametrize("how", ["answered", "failed", "cancelled"])
async def test_no_task_outlives_its_request(app, query, how):
    app, began, ends = app(), asyncio.Event(), []

    async def encode(text, version):
        began.set()
        try:
            await asyncio.sleep(600)
        finally:
            ends.append(how)

    async def request():
        async with app.ingress._steps.at("v1").ports().before_adapt(query("And now?")):
            await began.wait()
            if how == "failed":
                raise GenerateError("busy")
            if how == "cancelled":
                await asyncio.sleep(600)

    app.adapter.encode.answer = encode
    before = asyncio.all_tasks()
    asking = asyncio.ensure_future(request())
    await began.wait()
    if how == "cancelled":
        asking.cancel()
    await asyncio.wait({asking})
    assert ends == [how]
    assert asyncio.all_tasks() == before
    assert app.ingress._steps.breakers.of("encoder").state == "closed"


async def made(encoding, count):
    count.append(encoding)
    return encoding


async def test_requests_of_one_text_share_what_is_made_and_versions_do_not():
    encodings, count = QueryEncodings(), []
    other = Encoding("other", np.zeros(384, np.float32))
    async with (
        encodings.ahead("v1", "And?", lambda: made(ENCODING, count)),
        encodings.ahead("v1", "And?", lambda: made(ENCODING, count)),
        encodings.ahead("v2", "And?", lambda: made(other, count)),
    ):
        found = [await encodings.get(version, "And?", 60) for version in ("v1", "v1", "v2", "v3")]
    assert [one and one.encoder for one in found] == ["minilm", "minilm", "other", None]
    assert len(count) == 2


async def test_whoever_shares_what_another_request_gave_up_goes_on_without():
    encodings = QueryEncodings()
    async with encodings.ahead("v1", "And?", lambda: asyncio.sleep(600)):
        waiting = asyncio.ensure_future(encodings.get("v1", "And?", 60))
        await asyncio.sleep(0)
    assert await waiting is None
