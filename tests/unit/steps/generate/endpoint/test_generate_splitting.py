"""Requests that are asked in parts, over real HTTP: what is kept, paid for and counted of each."""

import contextlib
import pickle

import pytest
from defaults import answer_cache, budget_of, endpoint_at, openai_generator, splitting
from quirky_asking import ASKED, TURNS, asking

from hydra_ray.records import ChatRequest, Usage
from hydra_ray.steps.generate import BudgetSpentError, FilteredError, GenerateError
from hydra_ray.steps.generate.limits import BudgetedGenerator


async def test_one_filtered_sample_is_missing_and_the_others_count(server):
    async with asking(server.url("filterone")) as generator:
        assert len((await generator(ASKED)).texts) == 3


def by_seed(failing):
    """An endpoint that takes one sample a request and fails for some seeds, as it is told."""

    def reply(body):
        if body.get("n", 1) > 1:
            return 400, {"error": {"message": "n must be 1"}}
        return failing.get(body["seed"], {"choices": [{"message": {"content": f"text {body['seed']}"}}]})

    return reply


FILTERED = (400, {"error": {"message": "no", "code": "content_filter"}})
DOWN = (503, {"error": {"message": "overloaded"}})


async def test_a_filter_refuses_one_sample_of_those_asked_one_by_one(endpoint):
    endpoint.replies = [by_seed({6: FILTERED})]
    async with asking(endpoint.url) as generator:
        assert (await generator(ASKED)).texts == ("text 5", "text 7", "text 8")
        endpoint.replies = [by_seed(dict.fromkeys(range(5, 9), FILTERED))]
        with pytest.raises(GenerateError) as caught:
            await generator(ASKED)
    assert caught.value.kind == "filtered"


async def test_a_filter_refuses_what_is_asked_after_too_few_samples_came(endpoint):
    few = {"choices": [{"message": {"content": f"text {i}"}} for i in range(3)]}
    endpoint.replies = [lambda body: few if body.get("n", 1) > 1 else FILTERED]
    async with asking(endpoint.url) as generator:
        for _ in range(2):
            answer = await generator(ASKED)
            assert (answer.texts, answer.usage.calls) == (("text 0", "text 1", "text 2"), 2)


async def test_what_a_filter_took_was_answered_and_is_paid_for_in_sum(endpoint):
    usage = {"prompt_tokens": 10, "completion_tokens": 3}
    taken = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}], "usage": usage}
    endpoint.replies = [by_seed(dict.fromkeys(range(5, 9), taken))]
    budget = budget_of()
    async with asking(endpoint.url, budget=budget) as generator:
        with pytest.raises(FilteredError) as caught:
            await generator(ASKED)
        # The refusal that taught to ask one by one was a call, too.
        assert (caught.value.usage, caught.value.kind) == (Usage(5, 40, 12), "filtered")
        assert (budget.spent.prompt_tokens, budget.spent.completion_tokens) == (40, 12)
        assert pickle.loads(pickle.dumps(caught.value)).usage == Usage(5, 40, 12)
        endpoint.replies = [by_seed(dict.fromkeys((6, 7), taken))]
        assert (await generator(ASKED)).usage.prompt_tokens == 20
        endpoint.replies = [by_seed(dict.fromkeys(range(5, 9), FILTERED))]
        with pytest.raises(GenerateError) as caught:
            await generator(ASKED)
        # The prompt was refused: nothing was answered.
        assert not isinstance(caught.value, FilteredError)


async def test_what_a_filter_took_before_the_rest_was_asked_in_parts_is_paid_for_too(endpoint):
    usage = {"prompt_tokens": 10, "completion_tokens": 3}
    taken = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}], "usage": usage}
    endpoint.replies = [lambda body: taken]
    async with asking(endpoint.url) as generator:
        with pytest.raises(FilteredError) as caught:
            await generator(ASKED)
    # One of four samples came, and then three alone.
    assert ([body.get("n", 1) for body in endpoint.asked], caught.value.usage) == ([4, 1, 1, 1], Usage(4, 40, 12))


async def test_samples_that_were_paid_for_are_not_asked_again_when_another_fails(endpoint):
    failing = {7: DOWN}
    endpoint.replies = [by_seed(failing)]
    cache = answer_cache(":memory:")
    async with asking(endpoint.url, cache=cache) as generator:
        with pytest.raises(GenerateError) as caught:
            await generator(ASKED)
        assert (caught.value.kind, caught.value.transient, len(endpoint.asked)) == ("server", True, 5)
        failing.clear()
        again = await generator(ASKED)
        assert again.texts == ("text 5", "text 6", "text 7", "text 8")
        assert (again.usage.calls, again.usage.cached, len(endpoint.asked)) == (1, 3, 6)
        # Known now as a whole, which cost four calls.
        known = await generator(ASKED)
        assert (known.texts, known.usage.calls, known.usage.cached) == (again.texts, 0, 4)
        assert len(endpoint.asked) == 6


async def test_the_sample_that_came_of_an_ignored_n_is_not_paid_for_twice(endpoint):
    failing = {6: DOWN}

    def reply(body):
        one = {"choices": [{"message": {"content": f"text {body['seed']}"}}], "usage": {"prompt_tokens": 3}}
        return failing.get(body["seed"], one)

    endpoint.replies = [reply]
    budget = budget_of()
    async with asking(endpoint.url, cache=answer_cache(":memory:"), budget=budget) as generator:
        with pytest.raises(GenerateError):
            await generator(ASKED)
        failing.clear()
        assert (await generator(ASKED)).texts == ("text 5", "text 6", "text 7", "text 8")
    assert [body["seed"] for body in endpoint.asked].count(5) == 1
    assert budget.spent == Usage(5, 4 * 3)


@pytest.mark.parametrize("calls", range(7))
async def test_a_budget_counts_each_request_that_is_sent(server, calls):
    name = f"n1+b{calls}"
    async with asking(server.url("n1", f"b{calls}"), budget=(budget := budget_of(calls=calls))) as generator:
        # One refusal and four samples.
        with contextlib.nullcontext() if calls >= 5 else pytest.raises(BudgetSpentError):
            await generator(ASKED)
    assert budget.spent.calls == len(server.asked.get(name, [])) == min(calls, 5)
    assert budget._reserved == Usage()


async def test_room_for_reasoning_is_added_to_what_is_asked_for(endpoint):
    bare = openai_generator("m", [endpoint_at(endpoint.url, "NO")], retries=0)
    budget = budget_of(tokens=10_000)
    generator = splitting(BudgetedGenerator(bare, budget), bare.most_samples, reasoning_tokens=100)
    await generator(ChatRequest(TURNS, max_tokens=8))
    await generator.close()
    assert endpoint.asked[0]["max_tokens"] == 108
