"""vLLM's streams: answers that are said while they are made, and requests of others in their own words."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from defaults import vllm_generator

from hydra_ray.records import ChatRequest, Message, Sampling, Usage
from hydra_ray.steps.generate import GenerateError, stream_of
from hydra_ray.steps.generate.passing import passed_of
from hydra_ray.steps.generate.vllm import cache_salt

REQUEST = ChatRequest((Message("user", "Which tag?"),), n=4, temperature=0.7, max_tokens=8, seed=3)
BODY = {"messages": [{"role": "user", "content": "Rain?"}], "tools": [{"type": "function"}], "stream": True}


def chunk(delta, finish=None, **more):
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def words(*texts, finish="stop"):
    """The chunks of a good answer as vLLM tells it."""
    told = {"id": "x", "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 5}}
    said = [chunk({"content": text}) for text in texts]
    return [chunk({"role": "assistant", "content": ""}), *said, chunk({"content": ""}, finish), told]


def refusal(code, message="no", **more):
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": code, **more}}


class Engine:
    """Streams its answers in turn, the last one for ever.

    A chunk that is an exception is raised, an event is waited for.

    Attributes:
        asked: Bodies that it was asked.
        made: Number of chunks that it made.
        closed: Number of streams that were closed before their end.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked, self.made, self.closed = [], 0, 0

    async def __call__(self, body):
        self.asked.append(body)
        return self._next()

    async def stream(self, body):
        self.asked.append(body)
        try:
            for part in self._next():
                if isinstance(part, asyncio.Event):
                    await part.wait()
                    continue
                if isinstance(part, Exception):
                    raise part
                self.made += 1
                yield part
        except (GeneratorExit, asyncio.CancelledError):
            self.closed += 1
            raise

    def _next(self):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def said(generator, request=REQUEST):
    return [piece async for piece in stream_of(generator, request)]


def text(pieces):
    return "".join(piece.text for piece in pieces)


async def replies(generator, body):
    return [reply async for reply in passed_of(generator, body)]


async def test_the_first_piece_is_there_before_the_engine_has_made_the_second():
    engine = Engine(words("It", " is", " fine. "))
    async with aclosing(stream_of(vllm_generator(engine, "acme", "secret"), REQUEST)) as pieces:
        assert (await anext(pieces)).text == "It"
        # The role, and the first word.
        assert engine.made == 2
        rest = [piece async for piece in pieces]
    assert text(rest) == " is fine."
    assert (rest[-1].finish, rest[-1].usage) == ("stop", Usage(1, 11, 5))
    asked = engine.asked[0]
    assert (asked["n"], asked["stream"], asked["stream_options"]) == (1, True, {"include_usage": True})
    assert (asked["seed"], asked["cache_salt"]) == (3, cache_salt("secret", "acme"))


async def test_an_answer_that_is_cut_and_what_the_engine_does_not_know_are_told():
    cut = words("It", finish="length")
    cut[-1]["usage"]["prompt_tokens_details"] = {"cached_tokens": 8}
    wished = replace(REQUEST, sampling=Sampling(top_p=0.5, verbosity="low"))
    *_, end = await said(vllm_generator(Engine(cut), "acme", send_seed=False), wished)
    assert (end.finish, end.usage, end.ignored) == ("length", Usage(1, 11, 5, 0, 8, 0), ("verbosity", "seed"))


async def test_who_stops_listening_stops_the_engine_and_frees_a_slot():
    waits = asyncio.Event()
    engine = Engine([chunk({"content": "It"}), waits], words("next"))
    generator = vllm_generator(engine, "acme", concurrency=1)
    async with aclosing(stream_of(generator, REQUEST)) as pieces:
        await anext(pieces)
    assert engine.closed == 1
    assert text(await asyncio.wait_for(said(generator), 30)) == "next"
    # Of somebody who is cancelled while it waits for the next word, too.
    engine.answers = [[chunk({"content": "It"}), waits], words("last")]
    listening = asyncio.create_task(said(generator))
    while engine.made < 6:
        await asyncio.sleep(0)
    listening.cancel()
    assert isinstance((await asyncio.gather(listening, return_exceptions=True))[0], asyncio.CancelledError)
    assert engine.closed == 2
    assert text(await asyncio.wait_for(said(generator), 30)) == "last"


async def test_the_engine_is_asked_again_before_the_first_chunk_and_not_after_it():
    away = GenerateError("not available", "connection", True)
    engine = Engine([away], [refusal(503, "starting")], words("well"))
    assert text(await said(vllm_generator(engine, "acme", retries=2))) == "well"
    assert len(engine.asked) == 3
    engine = Engine([chunk({"content": "half"}), away], words("another"))
    pieces = stream_of(vllm_generator(engine, "acme", retries=2), REQUEST)
    assert (await anext(pieces)).text == "half"
    with pytest.raises(GenerateError, match="not available"):
        await anext(pieces)
    assert len(engine.asked) == 1


@pytest.mark.parametrize(
    ("more", "kind", "transient"),
    [
        ([refusal(500, "the engine died")], "server", True),
        ([chunk({}, "abort")], "server", True),
        ([], "connection", True),
        ([chunk({}, "content_filter")], "filtered", False),
    ],
    ids=["error", "aborted", "ended early", "filtered"],
)
async def test_an_answer_that_is_broken_off_is_none(more, kind, transient):
    pieces = stream_of(vllm_generator(Engine([chunk({"content": "half"}), *more]), "acme", retries=0), REQUEST)
    await anext(pieces)
    with pytest.raises(GenerateError) as caught:
        await anext(pieces)
    assert (caught.value.kind, caught.value.transient) == (kind, transient)


async def test_an_aborted_answer_is_asked_for_again_and_never_a_result():
    half = {"choices": [{"index": 0, "message": {"content": "half"}, "finish_reason": "abort"}]}
    good = {"choices": [{"index": 0, "message": {"content": "whole"}, "finish_reason": "stop"}]}
    engine = Engine(half, good)
    assert (await vllm_generator(engine, "acme", retries=1)(REQUEST)).texts == ("whole",)
    with pytest.raises(GenerateError, match="finish_reason abort"):
        await vllm_generator(Engine(half), "acme", retries=0)(REQUEST)


async def test_reasoning_is_held_back_in_a_field_of_its_own_or_in_tags():
    apart = [chunk({"reasoning": "hm"}), *words("Yes", ", it is")]
    assert text(await said(vllm_generator(Engine(apart), "acme"))) == "Yes, it is"
    tags = words("<think>", "hm", "</think>", "Yes")
    assert text(await said(vllm_generator(Engine(tags), "acme"))) == "Yes"


async def test_an_engine_that_stops_amid_an_answer_is_given_up_but_a_slow_listener_is_not():
    pieces = stream_of(vllm_generator(Engine([*words("It")[:2], asyncio.Event()]), "acme", timeout_s=0.05), REQUEST)
    await anext(pieces)
    with pytest.raises(GenerateError, match=r"more than 0\.05 s") as caught:
        await anext(pieces)
    assert caught.value.kind == "timeout"
    pieces = stream_of(vllm_generator(Engine(words("It", " is")), "acme", timeout_s=0.05), REQUEST)
    await anext(pieces)
    await asyncio.sleep(0.1)
    assert text([piece async for piece in pieces]) == " is"


async def test_a_refusal_of_a_form_that_was_answered_is_the_requests_own_fault_streamed_or_not():
    engine = Engine([refusal(400)], words("well"), [refusal(400)])
    generator = vllm_generator(engine, "acme", params={"top_p": 5})
    kinds = []
    for _ in range(3):
        try:
            await said(generator)
        except GenerateError as error:
            kinds.append(error.kind)
    assert kinds == ["setting", "refused"]


async def test_what_others_ask_goes_as_it_is_and_comes_back_as_it_came():
    engine = Engine(words("It rains"))
    generator = vllm_generator(engine, "acme", "secret", params={"top_p": 0.9, "top_k": 5})
    assert await replies(generator, {**BODY, "top_p": 0.5, "seed": None}) == words("It rains")
    assert engine.asked == [
        {
            **BODY,
            "top_p": 0.5,
            "top_k": 5,
            "cache_salt": cache_salt("secret", "acme"),
            "stream_options": {"include_usage": True},
        }
    ]
    whole = {"id": "y", "choices": [{"message": {"content": None, "tool_calls": [{"id": "1"}]}}], "usage": {}}
    engine = Engine(whole)
    assert await replies(vllm_generator(engine, "acme"), {**BODY, "stream": False}) == [whole]
    assert "stream_options" not in engine.asked[0]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_of_what_others_ask_is_theirs_and_names_the_field(stream):
    refused = refusal(400, "tools[0]: no function", param="tools[0]")
    engine = Engine([refused] if stream else refused)
    with pytest.raises(GenerateError, match=r"^vLLM: tools\[0\]: no function$") as caught:
        await replies(vllm_generator(engine, "acme", retries=3), {**BODY, "stream": stream})
    assert (caught.value.kind, caught.value.param, len(engine.asked)) == ("refused", "tools[0]", 1)


@pytest.mark.parametrize(
    "field",
    [
        {"cache_salt": "another tenant's"},
        {"priority": -1},
        {"request_id": "r"},
        {"kv_transfer_params": {}},
        {"ec_transfer_params": {}},
        {"vllm_xargs": {"kv_transfer_params": "x"}},
    ],
)
async def test_clients_do_not_set_what_is_the_operators_business(field):
    engine = Engine(words("well"))
    with pytest.raises(GenerateError, match="clients cannot set this") as caught:
        await replies(vllm_generator(engine, "acme"), {**BODY, **field})
    assert (caught.value.kind, caught.value.param, engine.asked) == ("refused", *field, [])


async def test_who_leaves_a_stream_that_is_passed_through_stops_the_engine():
    engine = Engine([chunk({"content": "It"}), asyncio.Event()])
    async with aclosing(passed_of(vllm_generator(engine, "acme"), BODY)) as coming:
        await anext(coming)
    assert engine.closed == 1
