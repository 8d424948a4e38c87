"""Requests that only the LLM can answer, where that is vLLM by handle."""

import pytest
from made_app import SAID
from passing_apps import CALL, TOOLS, in_process
from streaming_endpoint import words
from streams import events, streamed

from hydra_ray.records import Usage
from hydra_ray.runtime import generators
from hydra_ray.tasks import CHAT_TASK

CALLED = {
    "id": "chatcmpl-v",
    "object": "chat.completion",
    "model": "demo",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "", "tool_calls": [CALL]}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 11, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
}


class Engine:
    """vLLM as its handle is called.

    Attributes:
        replies: What it says: one whole reply, or the chunks of a stream.
        asked: Bodies.
    """

    def __init__(self, *replies):
        self.replies, self.asked = replies, []

    async def __call__(self, body):
        self.asked.append(body)
        return self.replies[0]

    async def stream(self, body):
        self.asked.append(body)
        for reply in self.replies:
            yield reply


@pytest.fixture
def app(served, monkeypatch):
    """The ingress in front of vLLM by handle, whose generator's deployment runs in this process."""

    def make(*replies):
        engine = Engine(*replies)
        monkeypatch.setattr(generators, "RemoteEngine", lambda app: engine)
        return in_process(served(CHAT_TASK, more={"generator": {"backend": "vllm"}})), engine

    return make


def test_vllm_by_handle_gets_what_methods_cannot_answer(app):
    app, engine = app(CALLED)
    reply = app.ask(SAID[-1:], tools=TOOLS, user="ann").json()
    assert {**reply, "id": reply["hydra"].pop("llm_id"), "hydra": None} == {**CALLED, "hydra": None}
    assert (reply["hydra"]["method"], reply["hydra"]["reason"]) == ("passthrough", "tools: tools")
    asked = {name: value for name, value in engine.asked[0].items() if name != "cache_salt"}
    assert asked == {"model": "hydra", "messages": SAID[-1:], "tools": TOOLS}
    assert app.charged == [Usage(1, 11, 5, cached_tokens=4)]


def test_its_chunks_come_back_as_they_come_and_its_usage_is_counted(app):
    app, _ = app(*words("It", " rains"))
    with streamed(app, logprobs=True) as response:
        found = list(events(response))
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found) == "It rains"
    assert found[-1]["hydra"]["method"] == "passthrough"
    assert app.charged == [Usage(1, 11, 5)]


@pytest.mark.parametrize("stream", [False, True])
def test_what_it_refuses_has_the_shape_of_openais_errors(app, stream):
    why = {"message": "tools[0].function: Field required", "type": "BadRequestError", "code": 400}
    app, _ = app({"error": {**why, "param": "tools[0].function"}})
    refused = app.ask(SAID[-1:], tools=TOOLS, stream=stream)
    assert refused.status_code == 400
    assert refused.json()["error"] == {
        "message": "vLLM: tools[0].function: Field required",
        "type": "invalid_request_error",
        "param": "tools[0].function",
        "code": None,
    }
