import asyncio
from dataclasses import replace

import pytest
from defaults import answer_cache

from hydra_ray.records import ChatRequest, Generation, Message, Sampling, Usage
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.cache import CachedGenerator, ask_key, tenant_file

REQUEST = ChatRequest((Message("user", "Zażółć?"),), n=2, temperature=0.5, max_tokens=8, seed=3)


@pytest.fixture
def counter(scripted):
    """Its answers tell how often it was asked."""
    generator = scripted(lambda _: (f"answer {len(generator.requests)}", "ö"))
    return generator


async def test_a_request_is_asked_once(counter):
    cached = CachedGenerator(counter, answer_cache(":memory:"), "model")
    first, second = await cached(REQUEST), await cached(REQUEST)
    assert first.texts == second.texts == ("answer 1", "ö")
    assert counter.requests == [REQUEST]


async def test_what_came_from_disk_counts_as_cached_and_not_as_a_call(counter):
    cached = CachedGenerator(counter, answer_cache(":memory:"), "model")
    assert (await cached(REQUEST)).usage == Usage(calls=1, prompt_tokens=10, completion_tokens=2)
    assert (await cached(REQUEST)).usage == Usage(calls=0, prompt_tokens=10, completion_tokens=2, cached=1)


async def test_an_answer_counts_as_many_calls_from_the_cache_as_it_took():
    async def several(request):
        await asyncio.sleep(0)
        return Generation(("fine",), Usage(3, 30, 6, cached=1))

    cache = answer_cache(":memory:")
    cached = CachedGenerator(several, cache, "model")
    together = await asyncio.gather(cached(REQUEST), cached(REQUEST))
    assert [answer.usage for answer in together] == [Usage(3, 30, 6, cached=1), Usage(0, 30, 6, cached=4)]
    assert (await cached(REQUEST)).usage == Usage(0, 30, 6, cached=4)


async def test_what_is_told_of_an_answer_is_kept_with_it():
    answer = Generation(("fine", "cut"), Usage(1, 30, 6, 0, 20, 2), ("stop", "length"), ("verbosity",))

    async def told(request):
        return answer

    cached = CachedGenerator(told, answer_cache(":memory:"), "model")
    assert await cached(REQUEST) == answer
    assert await cached(REQUEST) == replace(answer, usage=Usage(0, 30, 6, 1, 20, 2))


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
        {"sampling": Sampling(top_p=0.5)},
        {"sampling": Sampling(stop=("END",))},
    ],
)
async def test_another_request_is_another_question(counter, change):
    cached = CachedGenerator(counter, answer_cache(":memory:"), "model")
    await cached(REQUEST)
    assert (await cached(replace(REQUEST, **change))).texts[0] == "answer 2"


async def test_answers_survive_reopening_for_the_same_identity_only(counter, tmp_path):
    path = tmp_path / "new" / "folder" / "answers.db"
    await CachedGenerator(counter, answer_cache(path), "model a")(REQUEST)
    assert (await CachedGenerator(counter, answer_cache(path), "model a")(REQUEST)).texts[0] == "answer 1"
    assert (await CachedGenerator(counter, answer_cache(path), "model b")(REQUEST)).texts[0] == "answer 2"


async def test_a_failure_is_not_kept(scripted):
    def fail_once(_):
        if len(llm.requests) == 1:
            raise GenerateError("busy")
        return ["fine"]

    llm = scripted(fail_once)
    cached = CachedGenerator(llm, answer_cache(":memory:"), "model")
    with pytest.raises(GenerateError, match="busy"):
        await cached(REQUEST)
    assert (await cached(REQUEST)).texts == ("fine",)


async def test_a_request_made_twice_at_the_same_time_is_asked_once(counter):
    async def slow(request):
        await asyncio.sleep(0)
        return await counter(request)

    cached = CachedGenerator(slow, answer_cache(":memory:"), "model")
    await asyncio.gather(cached(REQUEST), cached(REQUEST))
    assert len(counter.requests) == 1


async def test_a_greedy_answer_does_not_depend_on_the_seed(counter):
    cached = CachedGenerator(counter, answer_cache(":memory:"), "model")
    greedy = replace(REQUEST, temperature=0.0)
    await cached(greedy)
    assert (await cached(replace(greedy, seed=4))).texts[0] == "answer 1"


async def test_a_caller_who_gives_up_costs_nobody_the_answer(counter):
    released = asyncio.Event()

    async def slow(request):
        await released.wait()
        return await counter(request)

    cache = answer_cache(":memory:")
    cached = CachedGenerator(slow, cache, "model")
    first, second = asyncio.ensure_future(cached(REQUEST)), asyncio.ensure_future(cached(REQUEST))
    await asyncio.sleep(0)
    first.cancel()
    released.set()
    assert (await second).texts[0] == "answer 1"
    assert ask_key("model", REQUEST) in cache
    assert len(counter.requests) == 1


def test_tenants_have_files_of_their_own(tmp_path):
    names = ["acme", "acme/../zeta", "..", "ACME "]
    files = {tenant_file(tmp_path, name) for name in names}
    assert len(files) == len(names)
    assert all(file.parent == tmp_path for file in files)


def test_the_answers_used_longest_ago_are_dropped_at_the_bound(tmp_path, monkeypatch):
    now = iter(range(0, 10**9, 7200))
    monkeypatch.setattr("hydra_ray.steps.generate.cache.time.time", lambda: float(next(now)))
    cache = answer_cache(tmp_path / "answers.sqlite", max_bytes=200_000)
    answer = Generation(("x" * 2000,), Usage(1, 5, 5))
    for number in range(512):
        cache.put(f"ask {number}", answer)
        assert cache.get("ask 0") == Generation(answer.texts, Usage(0, 5, 5, cached=1)), "in use all the time"
    assert cache.size() <= 200_000 + 64 * 4096
    kept = {number for number in range(512) if f"ask {number}" in cache}
    assert 40 < len(kept) < 120
    newest = sorted(kept - {0})
    assert newest == list(range(512 - len(newest), 512)), "the oldest went, none between"
    cache.close()
    assert (tmp_path / "answers.sqlite").stat().st_size <= 200_000 + 64 * 4096
