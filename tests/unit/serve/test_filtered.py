"""What a filter of the LLM's takes: answered as OpenAI answers it, paid for, and no candidate of anything."""

import pytest
from made_app import SAID
from openai_endpoint import serving
from passing_apps import in_process
from streaming_endpoint import USAGE, chunk, streaming
from streams import events, streamed

from hydra_ray.records import Usage, UserKey
from hydra_ray.tasks import CHAT_TASK

PROMPT_REFUSED = (400, {"error": {"message": "The prompt was filtered.", "code": "content_filter"}})


def reply(*choices):
    """A reply whose choices are texts, or taken by the filter (None), or declined (a text in a list)."""
    made = []
    for choice in choices:
        message = {"role": "assistant", "content": choice if isinstance(choice, str) else None}
        message |= {"refusal": choice[0]} if isinstance(choice, list) else {}
        made.append({"message": message, "finish_reason": "content_filter" if choice is None else "stop"})
    return {"choices": made, "usage": USAGE}


@pytest.fixture
def app(served, tmp_path):
    """Makes the ingress in front of an endpoint, whose generator's deployment runs in this process."""
    made = []

    def make(server, **more):
        generator = {"backend": "openai", "base_url": server.url, "model": "m", "retries": 0}
        store = {"url": f"sqlite:///{tmp_path}/users.db"}
        more = {"generator": generator, "store": store, "method": {"candidates": 3}, **more}
        app = in_process(served(CHAT_TASK, more=more))
        app.generator.answer = lambda request, tenant: app.backend(request)
        made.append(app)
        return app

    yield make
    for one in made:
        one.ingress._completions.close()


@pytest.fixture
def llm():
    with serving() as server:
        server.replies = [lambda body: reply(*[None] * body.get("n", 1))]
        yield server


def kept(app, completion_id):
    assert app.ingress._completions.settle("acme", completion_id, 30)
    return app.ingress._feedback._log.find("acme", completion_id)


@pytest.mark.parametrize(("method", "n", "calls"), [("rag", 1, 1), ("rag", 2, 2), ("hydra", 1, 2), ("hydra", 2, 2)])
def test_where_nothing_is_left_the_choices_are_empty_and_say_why(app, llm, method, n, calls):
    app = app(llm)
    came = app.ask(SAID[-1:], user="ann", hydra={"method": method}, n=n)
    assert came.status_code == 200, came.text
    body = came.json()
    assert [(choice["message"]["content"], choice["finish_reason"]) for choice in body["choices"]] == [
        ("", "content_filter")
    ] * n
    assert (body["hydra"]["candidates"], body["hydra"]["head"]) == ([], "none")
    assert (app.charged, body["usage"]["total_tokens"]) == ([Usage(calls, 11 * calls, 5 * calls)], 16 * calls)
    # Nothing is judged, and nothing can be learnt.
    assert app.adapter.asked == []
    one = kept(app, body["id"])
    assert (one.candidates, one.usage.calls, one.user) == ((), calls, "ann")
    said = app.client.post("/v1/feedback", json={"id": body["id"], "verdict": "rejected"})
    assert (said.status_code, said.json()["learnt"]) == (200, False)
    assert kept(app, body["id"]).statement.reaction == "rejected"
    assert app.ingress._store.feedback_events([UserKey("acme", "ann")]) == {}


def test_what_is_left_competes_whichever_request_it_came_from(app, llm):
    app = app(llm)
    # The greedy answer is taken, and one of two samples.
    llm.replies = [lambda body: reply(None, "Calm.") if body.get("n", 1) > 1 else reply(None)]
    body = app.ask(SAID[-1:], user="ann").json()
    assert (body["choices"][0]["message"]["content"], body["choices"][0]["finish_reason"]) == ("Calm.", "stop")
    assert [one["text"] for one in body["hydra"]["candidates"]] == ["Calm."]
    assert app.charged == [Usage(2, 22, 10)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("method", ["rag", "hydra"])
def test_a_prompt_that_is_refused_was_not_answered(app, llm, method, stream):
    llm.replies = [PROMPT_REFUSED]
    refused = app(llm).ask(SAID[-1:], hydra={"method": method}, stream=stream)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")


@pytest.mark.parametrize("method", ["rag", "hydra"])
def test_an_llm_that_declines_is_heard_and_its_words_are_in_no_log(app, llm, method, caplog):
    llm.replies = [lambda body: reply(*[["I will not."]] * body.get("n", 1))]
    app = app(llm)
    caplog.set_level("DEBUG", "hydra_ray")
    (choice,) = app.ask(SAID[-1:], hydra={"method": method}).json()["choices"]
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": "I will not."}
    assert choice["finish_reason"] == "stop"
    with streamed(app, hydra={"method": method}) as response:
        deltas = [one["choices"][0]["delta"] for one in events(response)]
    assert {"refusal": "I will not."} in deltas
    # One candidate declines, and the others are taken.
    llm.replies = [lambda body: reply("Calm.", "Go.") if body.get("n", 1) > 1 else reply(["I will not."])]
    app.ask(SAID[-1:], hydra={"method": method})
    assert "the LLM declined" in caplog.text
    assert "I will not" not in caplog.text


def test_several_candidates_that_are_taken_end_a_stream_that_says_so(app, llm):
    app = app(llm)
    with streamed(app, stream_options={"include_usage": True}) as response:
        _, end, usage = events(response)
    assert (end["choices"][0]["finish_reason"], end["hydra"]["method"]) == ("content_filter", "hydra")
    assert usage["usage"]["total_tokens"] == 32
    assert app.charged == [Usage(2, 22, 10)]


@pytest.mark.parametrize("said", [[], ["It", " is"]], ids=["at once", "midway"])
def test_a_stream_that_is_filtered_ends_as_such_and_is_paid_for(app, said):
    with streaming() as llm:
        app = app(llm)
        words = [chunk({"content": text}) for text in said]
        llm.let(*words, chunk(finish="content_filter"), {"id": "x", "choices": [], "usage": USAGE}, end=True)
        with streamed(app, user="ann", hydra={"method": "rag"}) as response:
            coming = list(events(response))
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in coming) == "".join(said)
    assert (coming[-1]["choices"][0]["finish_reason"], coming[-1]["hydra"]["candidates"]) == ("content_filter", [])
    assert app.charged == [Usage(1, 11, 5)]
    assert kept(app, coming[-1]["id"]).candidates == ()
