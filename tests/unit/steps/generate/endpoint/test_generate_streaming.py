"""Answers of OpenAI-compatible endpoints, said while the LLM makes them."""

import asyncio
from contextlib import aclosing

import pytest
from asking import KEY, request
from defaults import endpoint_at, openai_generator, splitting
from streaming_endpoint import chunk, streaming, words

from hydra_ray.records import Usage
from hydra_ray.steps.generate import GenerateError, stream_of
from hydra_ray.steps.generate.cache import AnswerCache, CachedGenerator
from hydra_ray.steps.generate.endpoint.heard import Answering
from hydra_ray.steps.generate.limits import Budget, BudgetedGenerator
from hydra_ray.steps.generate.metered import MeteredGenerator


@pytest.fixture
def llm():
    with streaming() as server:
        yield server


@pytest.fixture
async def client(llm, monkeypatch):
    monkeypatch.setenv("LLM_KEY", KEY)
    monkeypatch.setattr("hydra_ray.steps.generate.endpoint.rounds.FIRST_WAIT_S", 0.02)
    made = []

    def make(*servers, **options):
        endpoints = [endpoint_at(server.url, "LLM_KEY") for server in servers or (llm,)]
        asking = openai_generator("tiny", endpoints, **{"timeout_s": 30, "retries": 0, **options})
        made.append(splitting(asking, asking.most_samples))
        return made[-1]

    yield make
    for generator in made:
        await generator.close()


async def said(generator):
    return [piece async for piece in stream_of(generator, request())]


def text(pieces):
    return "".join(piece.text for piece in pieces)


async def test_the_first_piece_is_there_before_the_llm_has_said_the_second(llm, client):
    llm.let(chunk({"content": "It"}))
    async with aclosing(stream_of(client(), request())) as pieces:
        assert (await anext(pieces)).text == "It"
        assert llm.sent == 1
        llm.let(*words(" is", " fine."), end=True)
        rest = [piece async for piece in pieces]
    assert text(rest) == " is fine."
    assert (rest[-1].finish, rest[-1].usage) == ("stop", Usage(1, 11, 5))
    assert llm.asked[0]["stream_options"] == {"include_usage": True}


async def test_who_stops_listening_stops_the_llm(llm, client):
    llm.let(chunk({"content": "It"}))
    async with aclosing(stream_of(client(concurrency=1), request())) as pieces:
        await anext(pieces)
    assert await asyncio.to_thread(llm.left.wait, 30)


async def test_a_slot_is_free_again_when_a_stream_ends_or_is_left(llm, client):
    generator = client(concurrency=1)
    llm.let(*words("one"), end=True)
    assert text(await said(generator)) == "one"
    llm.let(chunk({"content": "It"}))
    async with aclosing(stream_of(generator, request())) as pieces:
        await anext(pieces)
    assert await asyncio.to_thread(llm.left.wait, 30)
    llm.let(*words("two"), end=True)
    assert text(await asyncio.wait_for(said(generator), 30)) == "two"


async def test_another_endpoint_is_asked_before_the_first_piece(llm, client):
    with streaming() as ill:
        ill.refusals = [(503, {"error": {"message": "no"}})]
        llm.let(*words("well"), end=True)
        assert text(await said(client(ill, llm))) == "well"
        ill.let(chunk({"role": "assistant"}))
        ill.break_off()
        llm.let(*words("again"), end=True)
        assert text(await said(client(ill, llm))) == "again"


async def test_no_other_endpoint_is_asked_after_the_first_piece(llm, client):
    with streaming() as other:
        llm.let(chunk({"content": "half"}))
        pieces = stream_of(client(llm, other, retries=3), request())
        assert (await anext(pieces)).text == "half"
        llm.break_off()
        with pytest.raises(GenerateError, match="ended before the answer did") as caught:
            await anext(pieces)
        assert (caught.value.kind, other.asked) == ("connection", [])


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "the engine died", "code": 500}}, "server"),
        ({"error": {"message": "slow down", "code": 429}}, "busy"),
        ("{no json", "malformed"),
        (chunk(finish="content_filter"), "filtered"),
    ],
)
async def test_what_breaks_an_answer_off_is_told_as_of_whole_answers(llm, client, event, kind):
    llm.let(chunk({"content": "half"}), event, end=True)
    pieces = stream_of(client(), request())
    await anext(pieces)
    with pytest.raises(GenerateError) as caught:
        [piece async for piece in pieces]
    assert caught.value.kind == kind
    assert KEY not in str(caught.value)


async def test_endpoints_without_usage_or_streams_are_asked_as_they_want(llm, client):
    generator = client()
    llm.refusals = [(400, {"error": {"message": "Unknown parameter: stream_options"}})]
    llm.let(*words("fine", usage=None), end=True)
    pieces = await said(generator)
    assert (text(pieces), pieces[-1].usage) == ("fine", Usage(2))
    assert "stream_options" not in llm.asked[1]
    whole = {"choices": [{"message": {"content": "at once"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    llm.refusals = [(400, {"error": {"message": "stream is not supported by this model"}}), (200, whole)]
    pieces = await said(generator)
    assert [piece.text for piece in pieces] == ["at once", ""]
    assert "stream" not in llm.asked[-1]


async def test_a_whole_reply_to_a_streamed_request_is_an_answer(llm, client):
    llm.refusals = [(200, {"choices": [{"message": {"content": "at once"}}]})]
    assert text(await said(client())) == "at once"


async def test_reasoning_is_not_streamed(llm, client):
    llm.let(*words("<th", "ink>hm", "</think>", " It", " is", "."), end=True)
    assert text(await said(client())) == "It is."
    llm.let(chunk({"reasoning_content": "hm"}), *words("So", "."), end=True)
    generator = client()
    assert text(await said(generator)) == "So."
    # Once it is known to reason, what has no opening tag is held, too.
    llm.let(*words("hm, then", "</think>", "Yes", "."), end=True)
    assert text(await said(generator)) == "Yes."


@pytest.mark.parametrize("reasons", [False, True])
@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("  It is. \n", "It is."),
        ("<think>a</think>b", "b"),
        ("<think>a<think>b</think></think>\n\nc d", "c d"),
        ("<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>y z", "y z"),
        ("[THINK]a[/THINK]b <think>", "b <think>"),
        ("<b>bold</b> text", "<b>bold</b> text"),
    ],
)
def test_pieces_of_an_answer_are_the_whole_answer_however_it_is_cut(said, answer, reasons):
    for step in (1, 2, 5, len(said)):
        answering = Answering(reasons=reasons)
        told = "".join(answering.add(said[at : at + step], apart=False) for at in range(0, len(said), step))
        assert told + answering.rest(answer) == answer
        assert answering.released == answer


async def test_halves_of_a_sign_in_two_chunks_are_one_sign(llm, client):
    llm.let('{"choices": [{"index": 0, "delta": {"content": "a\\ud83d"}}]}')
    llm.let('{"choices": [{"index": 0, "delta": {"content": "\\ude00b"}, "finish_reason": "stop"}]}', end=True)
    assert text(await said(client())) == "a😀b"


async def test_streams_are_counted_booked_and_kept(llm, client):
    ends, budget = [], Budget(None, None, None, 0, 0)
    cache = AnswerCache(":memory:", 1 << 20)
    generator = CachedGenerator(MeteredGenerator(BudgetedGenerator(client(), budget), ends.append), cache, "llm")
    llm.let(*words("fine", "."), end=True)
    assert text(await said(generator)) == "fine."
    assert ([end.error for end in ends], budget.spent) == ([None], Usage(1, 11, 5))
    again = await said(generator)
    assert (text(again), again[-1].usage.cached, len(llm.asked)) == ("fine.", 1, 1)


async def test_a_broken_stream_is_no_answer_to_keep(llm, client):
    ends, cache = [], AnswerCache(":memory:", 1 << 20)
    generator = CachedGenerator(MeteredGenerator(client(), ends.append), cache, "llm")
    llm.let(chunk({"content": "half"}))
    llm.break_off()
    with pytest.raises(GenerateError):
        await said(generator)
    assert [end.error for end in ends] == ["connection"]
    llm.let(*words("whole"), end=True)
    assert text(await said(generator)) == "whole"


async def test_a_stream_that_is_left_is_booked_with_all_that_it_could_cost(llm, client):
    budget = Budget(None, None, None, 0, 0)
    llm.let(chunk({"content": "It"}))
    async with aclosing(stream_of(BudgetedGenerator(client(), budget), request())) as pieces:
        await anext(pieces)
    assert budget.spent.completion_tokens == request().max_tokens


async def test_a_stream_that_drips_ends_by_the_clock(llm, client):
    llm.let(chunk({"content": "It"}))
    with pytest.raises(GenerateError) as caught:
        await said(client(timeout_s=0.3))
    assert caught.value.kind == "timeout"


def test_an_llm_that_reasons_in_a_field_of_its_own_is_heard_word_by_word():
    answering = Answering(reasons=True)
    assert [answering.add(words, apart=True) for words in ("It", " is", " so.")] == ["It", " is", " so."]
