"""The engine as generators call it, over a handle that does what a test wants."""

import asyncio
from contextlib import aclosing

import pytest
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError

from hydra_ray.runtime import vllm_app
from hydra_ray.runtime.vllm_app import RemoteEngine
from hydra_ray.steps.generate import GenerateError


class Response:
    """Stands in for Serve's responses, whole and streamed.

    Attributes:
        cancelled: Whether somebody cancelled it.
    """

    def __init__(self, *parts):
        self.parts, self.cancelled = iter(parts), False

    def __await__(self):
        return self.__anext__().__await__()

    def __aiter__(self):
        return self

    async def __anext__(self):
        part = next(self.parts, None)
        if part is None:
            raise StopAsyncIteration
        if isinstance(part, Exception):
            raise part
        return await part.wait() if isinstance(part, asyncio.Event) else part

    def cancel(self):
        self.cancelled = True


class Handle:
    """Stands in for a handle of the engine's deployment; its methods give one response."""

    def __init__(self, response):
        self.response, self.streams = response, False

    def options(self, *, stream):
        self.streams = stream
        return self

    @property
    def complete(self):
        return self

    stream = complete

    def remote(self, body):
        return self.response


@pytest.fixture
def engine(monkeypatch):
    def make(*parts):
        response = Response(*parts)
        monkeypatch.setattr(vllm_app, "DeploymentHandle", lambda name, app: Handle(response))
        return RemoteEngine("llm"), response

    return make


async def test_a_stream_that_is_left_is_cancelled_at_the_engine(engine):
    asked, response = engine({"a": 1}, {"a": 2})
    async with aclosing(asked.stream({})) as chunks:
        assert await anext(chunks) == {"a": 1}
        assert not response.cancelled
    assert response.cancelled


async def test_a_call_that_nobody_waits_for_is_cancelled_at_the_engine(engine):
    asked, response = engine(asyncio.Event())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asked({})
    assert response.cancelled


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(BackPressureError(1, 1), "busy"), (RayError("gone"), "connection"), (ValueError("by gRPC"), "connection")],
)
async def test_an_engine_that_cannot_be_reached_may_be_asked_again(engine, raised, kind):
    asked, _ = engine(raised, raised)
    with pytest.raises(GenerateError) as whole:
        await asked({})
    with pytest.raises(GenerateError) as streamed:
        [chunk async for chunk in asked.stream({})]
    assert [(error.value.kind, error.value.transient) for error in (whole, streamed)] == [(kind, True)] * 2
