"""What is passed through, where its client leaves or the LLM fails at a moment between two parts of the answer."""

import asyncio
import json

import pytest
from defaults import recipe
from openai_endpoint import completion
from starlette.requests import ClientDisconnect
from streaming_endpoint import USAGE, chunk

from hydra_ray.records import Usage
from hydra_ray.serve.passthrough.response import Passed, pass_through
from hydra_ray.steps.generate import GenerateError

WITHIN_S = 30


class Client:
    """A client that hears nothing and hangs up once its event is set."""

    def __init__(self):
        self.leaves = asyncio.Event()

    async def receive(self):
        await self.leaves.wait()
        return {"type": "http.disconnect"}


class LLM:
    """Says its parts and fails with those that are exceptions; at an event it sets `waits` and waits for it."""

    def __init__(self, *parts):
        self.parts, self.waits, self.closed = parts, asyncio.Event(), asyncio.Event()

    async def passed(self, body):
        try:
            for part in self.parts:
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, asyncio.Event):
                    self.waits.set()
                    await part.wait()
                else:
                    yield part
        finally:
            self.closed.set()


class Asking:
    """A request that is passed through, and what is charged for it."""

    def __init__(self, *parts, stream=False):
        self.llm, self.client, self.kept, self.lost = LLM(*parts), Client(), [], []
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
        passed = Passed(
            "chatcmpl-1",
            body,
            ("tools: tools",),
            1,
            False,
            None,
            {"degraded": []},
            False,
            lambda *said: self.kept.append(said),
            self.lost.append,
        )
        self.reply = asyncio.create_task(pass_through(passed, self.client, self.llm, recipe(), 100))


async def lines(response):
    return [json.loads(line[6:]) async for line in response.body_iterator if line.startswith("data: {")]


async def test_a_whole_answer_stands_whatever_the_llm_does_after_it(caplog):
    asking = Asking(completion("It will."), GenerateError("too late", "server"))
    reply = json.loads((await asking.reply).body)
    assert reply["choices"][0]["message"]["content"] == "It will."
    assert (asking.kept, asking.lost) == ([(("It will.",), Usage(1, 11, 5))], [])
    assert "too late" in caplog.text


async def test_a_request_that_is_given_up_after_the_whole_answer_is_charged_once():
    asking = Asking(completion("It will."), asyncio.Event())
    await asyncio.wait_for(asking.llm.waits.wait(), WITHIN_S)
    asking.reply.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking.reply
    assert (asking.kept, asking.lost) == ([], [Usage(1, 11, 5)])
    assert asking.llm.closed.is_set()


async def test_a_client_that_leaves_before_anything_is_for_it_stops_the_llm_and_is_charged_once():
    asking = Asking({"choices": [], "usage": USAGE}, asyncio.Event(), stream=True)
    await asyncio.wait_for(asking.llm.waits.wait(), WITHIN_S)
    asking.client.leaves.set()
    with pytest.raises(ClientDisconnect):
        await asyncio.wait_for(asking.reply, WITHIN_S)
    assert (asking.kept, asking.lost) == ([], [Usage(1, 11, 5)])
    assert asking.llm.closed.is_set()


async def test_what_comes_without_choices_and_without_a_usage_is_handed_on():
    filters = {"choices": [], "usage": None, "prompt_filter_results": [{"prompt_index": 0}]}
    told = {"choices": [], "usage": USAGE}
    asking = Asking(filters, chunk({"content": "It"}, "stop"), told, stream=True)
    first, *others = await lines(await asking.reply)
    assert (first["prompt_filter_results"], first["id"]) == ([{"prompt_index": 0}], "chatcmpl-1")
    # The usage is what nobody asked for.
    assert [one["choices"][0]["delta"]["content"] for one in others] == ["It"]
    assert asking.kept == [(("It",), Usage(1, 11, 5))]
