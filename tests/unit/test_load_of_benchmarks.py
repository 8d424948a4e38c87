"""The load of benchmarks: requests come when they are due, whatever became of earlier ones; the LLM is of one speed."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    """Benchmarks import what lies beside them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def test_a_request_does_not_wait_for_the_reply_to_an_earlier_one():
    import open_loop

    answered = asyncio.Event()

    async def waits():
        # For what a later arrival does: whoever asked one after the other would wait for ever.
        await answered.wait()

    async def answers():
        answered.set()

    arrivals = [open_loop.Arrival(0, "first", waits), open_loop.Arrival(0.001, "second", answers)]
    found = asyncio.run(open_loop.run(arrivals))
    assert [(sample.kind, sample.error) for sample in found] == [("first", ""), ("second", "")]


def test_the_time_of_a_request_counts_from_when_it_was_due():
    import open_loop

    async def fine():
        """Answers at once."""

    # Due an hour before the load began: sent late, and its time says so.
    (sample,) = asyncio.run(open_loop.run([open_loop.Arrival(-3_600, "late", fine)]))
    assert sample.late_s >= 3_600
    assert sample.seconds >= sample.late_s


def test_a_failure_is_no_fast_answer():
    import open_loop

    async def fails():
        raise ValueError("no answer")

    (sample,) = asyncio.run(open_loop.run([open_loop.Arrival(0, "bad", fails)]))
    assert sample.error == "ValueError: no answer"


def test_schedules_keep_their_rate_and_are_drawn_alike():
    import open_loop

    assert open_loop.evenly(4, 2) == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]
    drawn = open_loop.poisson(3, 1_000, seed=1)
    assert drawn == open_loop.poisson(3, 1_000, seed=1) == sorted(drawn)
    assert 2_800 < len(drawn) < 3_200


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1, 100), (0.001, 1)])
def test_a_quantile_is_a_time_that_was_measured(share, expected):
    import open_loop

    assert open_loop.quantile(range(100, 0, -1), share) == expected


def test_the_llm_answers_the_same_to_the_same_prompt_and_remembers_it():
    import fixed_llm

    client = TestClient(fixed_llm.FixedLLM(0.0, ("yes", "no", "maybe")).application())
    body = {"messages": [{"role": "user", "content": "Well?"}], "n": 7}
    one, other = (client.post("/v1/chat/completions", json=body).json()["choices"] for _ in range(2))
    assert one == other
    assert {choice["message"]["content"] for choice in one} <= {"yes", "no", "maybe"}
    assert len(one) == 7
    assert client.get("/asked").json() == [body, body]
    assert client.get("/asked").json() == []


def test_the_llm_streams_its_words():
    import fixed_llm

    client = TestClient(fixed_llm.FixedLLM(0.0, ()).application())
    body = {"messages": [{"role": "user", "content": "Well?"}]}
    whole = client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    lines = client.post("/v1/chat/completions", json={**body, "stream": True}).text.split("\n\n")
    assert lines[-2] == "data: [DONE]"
    deltas = [json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines[:-2]]
    assert "".join(deltas).split() == whole.split()
    assert len(deltas) == len(whole.split()) + 1


def test_the_llm_waits_between_the_tokens_of_a_stream(monkeypatch):
    import fixed_llm

    waited = []

    async def wait(seconds):
        waited.append(seconds)

    monkeypatch.setattr(fixed_llm.asyncio, "sleep", wait)
    client = TestClient(fixed_llm.FixedLLM(0.5, ("one two three",), 0.25).application())
    body = {"messages": [{"role": "user", "content": "Well?"}], "stream": True}
    client.post("/v1/chat/completions", json=body)
    assert [seconds for seconds in waited if seconds] == [0.5, 0.25, 0.25]


def event(text="", finish=None, **more):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice], **more})}\n\n"


def streams_of(*parts):
    """Streams of a server that says these parts to whoever asks; it waits for events."""
    from first_tokens import Streams

    async def say():
        for part in parts:
            if isinstance(part, asyncio.Event):
                await part.wait()
            else:
                yield part.encode()

    return Streams(httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=say()))))


def test_a_first_token_is_told_while_the_stream_goes_on_and_the_stream_is_read_to_its_end():
    async def hear():
        more = asyncio.Event()
        streams = streams_of(event(), event("It"), more, event(" rains"), event(finish="stop"))
        await streams.first_token("http://llm/v1", {})
        ending = asyncio.create_task(streams.ended())
        await asyncio.sleep(0)
        assert not ending.done()
        more.set()
        await ending

    asyncio.run(asyncio.wait_for(hear(), 30))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([event(), event(finish="stop")], "without a token"),
        (['data: {"error": {"message": "gone"}}\n\n'], "gone"),
    ],
)
def test_a_stream_without_a_token_is_a_failure(parts, message):
    with pytest.raises(RuntimeError, match=message):
        asyncio.run(streams_of(*parts).first_token("http://llm/v1", {}))


@pytest.mark.parametrize(
    "rest", [[], [event(finish="stop", hydra={"degraded": ["retriever"]})]], ids=["broken off", "degraded"]
)
def test_a_stream_that_goes_wrong_after_its_first_token_is_not_measured(rest):
    async def hear():
        streams = streams_of(event("It"), *rest)
        await streams.first_token("http://llm/v1", {})
        await streams.ended()

    with pytest.raises(RuntimeError):
        asyncio.run(hear())


def test_sides_ask_in_turn_and_what_they_add_is_told_by_quantile():
    import first_tokens
    from rich.console import Console
    from sides import added_over, shown

    asked = []

    def asks(side):
        async def ask():
            asked.append(side)

        return ask

    sides = {side: asks(side) for side in ("direct", "rag")}
    samples = asyncio.run(first_tokens.in_turn(sides, 3, streams_of()))
    assert asked == ["direct", "rag"] * 3 == [sample.kind for sample in samples]
    found = shown(Console(quiet=True), "", samples)
    assert (found["rag"]["requests"], found["rag"]["errors"]) == (3, [])
    found["direct"] |= {"p50_ms": 100.0, "p99_ms": 200.0}
    found["rag"] |= {"p50_ms": 120.0, "p99_ms": 250.0}
    assert added_over(found, "direct") == {"rag": {"p50_ms": 20.0, "p99_ms": 50.0}}
