"""Streamed answers over HTTP: from the LLM's first word to the client, and what ends them."""

import httpx
import openai
import pytest
from made_app import SAID
from passing_apps import in_process
from running import running_app
from streaming_endpoint import chunk, streaming, words
from streams import events, streamed

from hydra_ray.records import Usage
from hydra_ray.tasks import CHAT_TASK

ONE = {"method": {"candidates": 1}}


@pytest.fixture
def llm():
    with streaming() as server:
        yield server


@pytest.fixture
def app(served, llm):
    """The ingress in front of an endpoint, whose generator's deployment runs in this process."""

    def make(task=CHAT_TASK, more=ONE, **serve):
        generator = {"backend": "openai", "base_url": llm.url, "model": "m", "retries": 0}
        return in_process(served(task, more={"generator": generator, **more}, **serve))

    return make


def content(events):
    return "".join(c["delta"].get("content") or "" for event in events for c in event["choices"])


@pytest.mark.parametrize("method", ["rag", "zero-shot", "hydra", "hydra-reranker", "cfrag"])
def test_the_first_chunk_is_there_before_the_llm_says_the_second(app, llm, method):
    app = app(more={"method": {**ONE["method"], "rerank": True}})
    llm.let(chunk({"content": "It"}))
    with streamed(app, user="ann", hydra={"method": method}, stream_options={"include_usage": True}) as response:
        coming = events(response)
        assert next(coming)["choices"][0]["delta"]["role"] == "assistant"
        assert next(coming)["choices"][0]["delta"] == {"content": "It"}
        assert llm.sent == 1
        llm.let(*words(" is", " calm.", finish="length"), end=True)
        *rest, end, usage = coming
    assert content(rest) == " is calm."
    assert (end["choices"][0]["finish_reason"], end["hydra"]["method"]) == ("length", method)
    assert usage["usage"]["total_tokens"] == 16
    assert app.charged == [Usage(1, 11, 5)]


def test_a_client_that_hangs_up_stops_the_llm(app, llm):
    app = app()
    llm.let(chunk({"content": "It"}), chunk({"content": " is"}))
    with streamed(app, hydra={"method": "rag"}) as response:
        coming = events(response)
        assert content(next(coming) for _ in range(3)) == "It is"
        response.close()
        assert llm.left.wait(30)
    # What was said is paid for.
    assert [usage.completion_tokens for usage in app.charged] == [2]


def test_a_client_that_hangs_up_before_the_first_word_stops_the_llm(app, llm):
    app = app()
    with running_app(app.ingress.__serve_build_asgi_app__()) as url:
        body = {"model": "hydra", "messages": SAID[-1:], "stream": True, "hydra": {"method": "rag"}}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json=body, timeout=httpx.Timeout(30, read=0.5))
        assert llm.left.wait(30)


def test_what_breaks_off_is_told_as_an_error_and_charged(app, llm):
    app = app()
    llm.let(chunk({"content": "It"}), {"error": {"message": "the engine died", "code": 500}}, end=True)
    with streamed(app, hydra={"method": "rag"}) as response:
        *said, error = events(response)
        assert content(said) == "It"
        assert (error["error"]["type"], "the engine died" in error["error"]["message"]) == ("upstream_error", True)
    assert [usage.completion_tokens for usage in app.charged] == [1]


def test_openais_client_raises_what_breaks_off(app, llm):
    llm.let(chunk({"content": "It"}), {"error": {"message": "the engine died", "code": 500}}, end=True)
    with running_app(app().ingress.__serve_build_asgi_app__()) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        body = {"model": "hydra", "messages": SAID[-1:], "extra_body": {"hydra": {"method": "rag"}}}
        with pytest.raises(openai.APIError, match="the engine died"):
            list(client.chat.completions.create(stream=True, **body))


def test_what_fails_before_the_first_word_is_a_response_of_its_own(app, llm):
    llm.refusals = [(400, {"error": {"message": "maximum context length is 10 tokens"}})]
    with streamed(app(), hydra={"method": "rag"}) as response:
        response.read()
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert llm.sent == 0


def test_several_candidates_are_streamed_after_the_choice(app, llm):
    app = app(more={"method": {"candidates": 3}})
    with streamed(app) as response:
        *said, end = events(response)
    assert content([*said, end]) == "Calm."
    assert (app.generator.stream.asked, llm.asked) == ([], [])


def test_the_order_of_a_stream_and_a_whole_answer_is_one_text(app, llm):
    app = app()
    llm.let(*words(" Calm", ", ", "as ever. "), end=True)
    with streamed(app, hydra={"method": "rag"}) as response:
        *said, end = events(response)
    assert content([*said, end]) == "Calm, as ever."
    assert end["hydra"]["candidates"][0]["text"] == "Calm, as ever."


def test_an_llm_that_takes_too_long_fails_the_request(app, llm):
    app = app(generator_timeout_s=0.3)
    with streamed(app, hydra={"method": "rag"}) as response:
        response.read()
        assert (response.status_code, response.json()["error"]["type"]) == (502, "upstream_error")
    llm.let(chunk({"content": "It"}))
    with streamed(app, hydra={"method": "rag"}) as response:
        *said, error = events(response)
    assert content(said) == "It"
    assert "took more than 0.3 s" in error["error"]["message"]
