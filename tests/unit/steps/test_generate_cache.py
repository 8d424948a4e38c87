import asyncio
from dataclasses import replace

import pytest

from hydra_ray.records import ChatRequest, Message, Usage
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.cache import CachedGenerator

REQUEST = ChatRequest((Message("user", "Zażółć?"),), n=2, temperature=0.5, max_tokens=8, seed=3)


@pytest.fixture
def counter(scripted):
    """Its answers tell how often it was asked."""
    generator = scripted(lambda _: (f"answer {len(generator.requests)}", "ö"))
    return generator


async def test_a_request_is_asked_once(counter):
    cached = CachedGenerator(counter, ":memory:", "model")
    first, second = await cached(REQUEST), await cached(REQUEST)
    assert first.texts == second.texts == ("answer 1", "ö")
    assert counter.requests == [REQUEST]


async def test_what_came_from_disk_counts_as_cached_and_not_as_a_call(counter):
    cached = CachedGenerator(counter, ":memory:", "model")
    assert (await cached(REQUEST)).usage == Usage(calls=1, prompt_tokens=10, completion_tokens=2)
    assert (await cached(REQUEST)).usage == Usage(calls=0, prompt_tokens=10, completion_tokens=2, cached=1)


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (Message("system", "Zażółć?"),)},
        {"messages": (Message("user", "Zażółć"),)},
        {"messages": (*REQUEST.messages, Message("user", ""))},
        {"n": 3},
        {"temperature": 0.6},
        {"max_tokens": 9},
        {"seed": 4},
    ],
)
async def test_another_request_is_another_question(counter, change):
    cached = CachedGenerator(counter, ":memory:", "model")
    await cached(REQUEST)
    assert (await cached(replace(REQUEST, **change))).texts[0] == "answer 2"


async def test_answers_survive_reopening_for_the_same_identity_only(counter, tmp_path):
    path = tmp_path / "new" / "folder" / "answers.db"
    await CachedGenerator(counter, path, "model a")(REQUEST)
    assert (await CachedGenerator(counter, path, "model a")(REQUEST)).texts[0] == "answer 1"
    assert (await CachedGenerator(counter, path, "model b")(REQUEST)).texts[0] == "answer 2"


async def test_a_failure_is_not_kept(scripted):
    def fail_once(_):
        if len(llm.requests) == 1:
            raise GenerateError("busy")
        return ["fine"]

    llm = scripted(fail_once)
    cached = CachedGenerator(llm, ":memory:", "model")
    with pytest.raises(GenerateError, match="busy"):
        await cached(REQUEST)
    assert (await cached(REQUEST)).texts == ("fine",)


async def test_a_request_made_twice_at_the_same_time_is_asked_once(counter):
    async def slow(request):
        await asyncio.sleep(0)
        return await counter(request)

    cached = CachedGenerator(slow, ":memory:", "model")
    await asyncio.gather(cached(REQUEST), cached(REQUEST))
    assert len(counter.requests) == 1
