"""An embedded LLM says its answer token by token, and stops when nobody listens."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from asking import request

from hydra_ray.records import Sampling
from hydra_ray.steps.generate import GenerateError, stream_of


@pytest.fixture(scope="module")
def llm():
    from hydra_ray.steps.generate.embedded import EmbeddedGenerator

    return EmbeddedGenerator("demo", "float32", 4)


@pytest.fixture
def endless(llm, monkeypatch):
    """The same LLM, to which hardly any token is an end."""
    monkeypatch.setattr(llm._model.generation_config, "eos_token_id", 5)
    return llm


LONG = replace(request("Tell me of the sea."), max_tokens=40, temperature=1.0, seed=3)


async def test_pieces_are_the_whole_answer(endless):
    whole = await endless(LONG)
    pieces = [piece async for piece in stream_of(endless, LONG)]
    assert "".join(piece.text for piece in pieces) == whole.texts[0]
    assert len(pieces) > 5
    assert (pieces[-1].usage, pieces[-1].finish) == (whole.usage, whole.ends[0])


async def test_a_stop_is_not_said(endless):
    whole = (await endless(LONG)).texts[0]
    stop = whole[len(whole) // 2 :][:4]
    wanted = replace(LONG, sampling=Sampling(stop=(stop,)))
    pieces = [piece async for piece in stream_of(endless, wanted)]
    assert "".join(piece.text for piece in pieces) == (await endless(wanted)).texts[0]
    assert stop not in "".join(piece.text for piece in pieces)


async def test_who_stops_listening_stops_the_model(endless, monkeypatch):
    made, forward = [], endless._model.forward

    def counted(*given, **more):
        made.append(1)
        return forward(*given, **more)

    monkeypatch.setattr(endless._model, "forward", counted)
    async with aclosing(stream_of(endless, replace(LONG, max_tokens=200))) as pieces:
        await anext(pieces)
    stopped = len(made)
    assert stopped < 200
    await asyncio.sleep(0.1)
    assert len(made) == stopped


async def test_a_prompt_that_does_not_fit_is_refused(llm):
    with pytest.raises(GenerateError) as caught:
        [piece async for piece in stream_of(llm, replace(LONG, max_tokens=10**6))]
    assert caught.value.kind == "refused"
