"""The load of benchmarks: requests come when they are due, whatever became of earlier ones; the LLM is of one speed."""

import asyncio
import json
from pathlib import Path

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
