"""Endpoints that tests of generators ask: a well-mannered one, and any number of faulty ones."""

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest
from asking import KEY
from clocks import Clock
from defaults import endpoint_at, openai_generator, splitting
from faulty_endpoint import FaultyEndpoint
from openai_endpoint import serving

from hydra_ray.steps.generate.endpoint import health as health_module
from hydra_ray.steps.generate.endpoint import rounds as rounds_module


@pytest.fixture
def endpoint():
    with serving() as server:
        yield server


@pytest.fixture
async def client(endpoint, monkeypatch):
    """Makes generators for the endpoint."""
    monkeypatch.setenv("LLM_KEY", KEY)
    monkeypatch.setattr("hydra_ray.steps.generate.endpoint.rounds.FIRST_WAIT_S", 0.02)
    made = []

    def make(key_file=None, **options):
        endpoints = [endpoint_at(endpoint.url, "LLM_KEY", key_file)]
        asking = openai_generator("tiny", endpoints, **{"timeout_s": 30, "retries": 0, **options})
        made.append(splitting(asking, asking.most_samples))
        return made[-1]

    yield make
    for generator in made:
        await generator.close()


@pytest.fixture
def clock(monkeypatch):
    """The time of endpoints' health: what an endpoint asks to wait passes at once. Deadlines go by the real clock."""
    clock = Clock()
    monkeypatch.setattr(health_module, "time", clock)
    monkeypatch.setattr(rounds_module, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": clock.sleep}))
    return clock


@pytest.fixture
async def start(monkeypatch, clock):
    """Starts servers and makes generators that ask them, in the order of the servers."""
    # Waits that the generator chooses itself are real and short.
    monkeypatch.setattr(rounds_module, "FIRST_WAIT_S", 0.02)
    async with AsyncExitStack() as stack:

        async def start(*behaviours):
            return await stack.enter_async_context(FaultyEndpoint(*behaviours, clock=clock.monotonic))

        def ask(*servers, keys=(), **options):
            keys = [*keys, *["HYDRA_TEST_NO_KEY"] * len(servers)]
            endpoints = [endpoint_at(server.url, key) for server, key in zip(servers, keys, strict=False)]
            generator = openai_generator("tiny", endpoints, **{"timeout_s": 30, **options})
            stack.push_async_callback(generator.close)
            return generator

        start.ask = ask
        yield start
