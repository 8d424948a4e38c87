"""What is served, field by field, against the types of OpenAI's own package."""

import json
from collections.abc import Iterator

import pytest
from made_app import SAID
from openai.types import ErrorObject, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

OURS = {"hydra"}


def unknown_fields(value: object, place: str = "") -> Iterator[str]:
    """Fields that a type of OpenAI's does not know, in all that it holds."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(item, f"{place}[{index}]")
    if isinstance(value, BaseModel):
        yield from (f"{place}.{name}" for name in value.model_extra or {})
        for name in value.model_fields_set & set(type(value).model_fields):
            yield from unknown_fields(getattr(value, name), f"{place}.{name}")


def checked(kind: type[BaseModel], body: dict, ours: set[str] = OURS) -> BaseModel:
    """The body as that type, which it is in every field but ours."""
    found = kind.model_validate(body, strict=True)
    assert {name.removeprefix(".") for name in unknown_fields(found)} <= ours
    return found


def chunks_of(reply) -> list[dict]:
    *events, done = reply.text.strip().split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.mark.parametrize("method", ["hydra", "rag", "zero-shot"])
def test_a_completion_is_what_openais_type_says(served, method):
    reply = served().ask(SAID, user="ann", n=2, hydra={"method": method}).json()
    completion = checked(ChatCompletion, reply)
    assert completion.choices[0].message.content == "Calm."
    assert completion.usage.total_tokens > 0


@pytest.mark.parametrize("method", ["hydra", "zero-shot"])
def test_so_is_every_chunk_of_a_stream(served, method):
    options = {"stream": True, "stream_options": {"include_usage": True}, "hydra": {"method": method}}
    *chunks, last = [checked(ChatCompletionChunk, chunk) for chunk in chunks_of(served().ask(SAID, **options))]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [*[None] * (len(chunks) - 1), "stop"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert last.usage.total_tokens > 0


@pytest.mark.parametrize("method", ["hydra", "zero-shot"])
def test_proxies_pass_a_stream_on_at_once(served, method):
    headers = served().ask(SAID, stream=True, hydra={"method": method}).headers
    assert headers["Content-Type"].startswith("text/event-stream")
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-cache", "no")


def test_so_are_models(served):
    client = served().client
    listed = client.get("/v1/models").json()
    assert set(listed) == {"object", "data"}
    assert listed["object"] == "list"
    for model in (*listed["data"], client.get("/v1/models/hydra").json()):
        checked(Model, model, set())


@pytest.mark.parametrize(
    "request_", [{"json": {"model": "gpt", "messages": SAID}}, {"json": {"model": "hydra"}}, {"content": b"{"}]
)
def test_so_are_errors(served, request_):
    reply = served().client.post("/v1/chat/completions", **request_)
    assert reply.status_code >= 400
    assert set(reply.json()) == {"error"}
    checked(ErrorObject, reply.json()["error"], set())


def test_a_field_that_openais_type_does_not_know_is_found(served):
    reply = served().ask(SAID).json()
    reply["choices"][0]["message"]["mood"] = "calm"
    with pytest.raises(AssertionError, match="mood"):
        checked(ChatCompletion, reply)
