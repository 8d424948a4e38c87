"""Budgets and paces, each by itself."""

import asyncio
import pickle
import random
from dataclasses import replace

import pytest
from clocks import run_skipping
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.records import ChatRequest, Generation, HydraError, Message, Usage
from hydra_ray.steps.generate import BudgetSpentError, GenerateError
from hydra_ray.steps.generate.limits import Budget, BudgetedGenerator, Pace, estimate_tokens

# 10 characters are 3 tokens and the turn's 4; with 2 answers of 5 tokens it can come to 17.
REQUEST = ChatRequest((Message("user", "ten chars!"),), n=2, max_tokens=5)


class Answering:
    """Answers after a turn of the event loop, with the usage it is told, or raises."""

    def __init__(self, usage=None, error=None):
        self.usage = usage or Usage(1, 7, 6)
        self.error = error
        self.asked = 0
        self.closed = False

    async def __call__(self, request):
        self.asked += 1
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return Generation(("fine",), self.usage)

    async def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("texts", "tokens"),
    [([], 0), ([""], 4), (["abcd"], 5), (["abcde"], 6), (["abcd", "abcd"], 10), (["語" * 4], 7), (["\ud83d"], 5)],
)
def test_tokens_are_estimated_from_bytes_and_turns(texts, tokens):
    assert estimate_tokens(ChatRequest(tuple(Message("user", text) for text in texts))) == tokens


async def test_without_limits_everything_is_asked_and_counted():
    budget = Budget()
    generator = BudgetedGenerator(Answering(), budget)
    for _ in range(5):
        assert (await generator(REQUEST)).texts == ("fine",)
    assert budget.spent == Usage(5, 35, 30)


@pytest.mark.parametrize(
    ("budget", "answers"),
    [
        (Budget(calls=3), 3),
        (Budget(calls=0), 0),
        # 13 tokens are used by each, and 17 must be left.
        (Budget(tokens=16), 0),
        (Budget(tokens=17), 1),
        (Budget(tokens=29), 1),
        (Budget(tokens=30), 2),
        # 7 * 2 + 6 * 3 = 32 are used by each, and 7 * 2 + 10 * 3 = 44 must be left.
        (Budget(cost=43e-6, price_in=2, price_out=3), 0),
        (Budget(cost=44e-6, price_in=2, price_out=3), 1),
        (Budget(cost=76e-6, price_in=2, price_out=3), 2),
        (Budget(calls=9, tokens=9000, cost=44e-6, price_in=2, price_out=3), 1),
    ],
)
async def test_a_budget_ends_where_the_next_request_might_exceed_it(budget, answers):
    inner = Answering()
    generator = BudgetedGenerator(inner, budget)
    for _ in range(answers):
        await generator(REQUEST)
    for _ in range(2):
        with pytest.raises(BudgetSpentError):
            await generator(REQUEST)
    assert inner.asked == budget.spent.calls == answers


async def test_a_cost_that_floats_miss_by_a_hair_still_fits():
    # 0.1 each, and 0.2 + 0.1 > 0.3.
    generator = BudgetedGenerator(Answering(Usage(1, 0, 1)), Budget(cost=0.3, price_out=100_000))
    for _ in range(3):
        await generator(ChatRequest((), max_tokens=1))
    with pytest.raises(BudgetSpentError):
        await generator(ChatRequest((), max_tokens=1))


async def test_a_small_request_may_still_fit_where_a_big_one_does_not():
    generator = BudgetedGenerator(Answering(), Budget(tokens=16))
    with pytest.raises(BudgetSpentError):
        await generator(REQUEST)
    assert (await generator(replace(REQUEST, n=1))).texts == ("fine",)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(calls=1), "generator.limits.calls: 1 of 1 are spent and 0 reserved .*; one more may need 1"),
        (Budget(tokens=20), "generator.limits.tokens: 13 of 20 are spent and 0 reserved .*; one more may need 17"),
        (
            Budget(cost=0.5, price_in=20_000, price_out=30_000),
            "generator.limits.cost: 0.32 of 0.5 are spent and 0 reserved .*; one more may need 0.44",
        ),
    ],
)
async def test_the_error_tells_the_setting_and_how_much_is_spent(budget, message):
    generator = BudgetedGenerator(Answering(), budget)
    await generator(REQUEST)
    with pytest.raises(BudgetSpentError, match=message):
        await generator(REQUEST)


@pytest.mark.parametrize("limits", [{"calls": 7}, {"tokens": 7 * 17}, {"cost": 7 * 44e-6}])
async def test_requests_under_way_count_at_their_greatest(limits):
    inner = Answering()
    generator = BudgetedGenerator(inner, Budget(**limits, price_in=2, price_out=3))
    ends = await asyncio.gather(*(generator(REQUEST) for _ in range(50)), return_exceptions=True)
    assert inner.asked == sum(isinstance(end, Generation) for end in ends) == 7
    assert sum(isinstance(end, BudgetSpentError) for end in ends) == 43


async def test_a_failed_request_is_a_call_and_no_tokens():
    budget = Budget(calls=2, tokens=17)
    generator = BudgetedGenerator(Answering(error=GenerateError("no luck")), budget)
    for _ in range(2):
        with pytest.raises(GenerateError, match="no luck"):
            await generator(REQUEST)
    assert budget.spent == Usage(calls=2)
    with pytest.raises(BudgetSpentError):
        await generator(REQUEST)


async def test_a_cancelled_request_is_a_call_and_gives_back_its_tokens():
    budget = Budget(tokens=17)
    generator = BudgetedGenerator(Answering(), budget)
    task = asyncio.create_task(generator(REQUEST))
    await asyncio.sleep(0)
    with pytest.raises(BudgetSpentError, match="0 of 17 are spent and 17 reserved"):
        await generator(REQUEST)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert budget.spent == Usage(calls=1)
    assert (await generator(REQUEST)).texts == ("fine",)


async def test_an_endpoint_that_tells_no_tokens_is_booked_at_the_greatest():
    budget = Budget(tokens=33)
    generator = BudgetedGenerator(Answering(Usage(calls=1)), budget)
    await generator(REQUEST)
    assert budget.spent == Usage(1, 7, 10)
    with pytest.raises(BudgetSpentError):
        await generator(REQUEST)


async def test_a_cached_answer_is_free():
    budget = Budget(calls=1)
    generator = BudgetedGenerator(Answering(Usage(0, 7, 6, cached=1)), budget)
    for _ in range(3):
        await generator(REQUEST)
    assert budget.spent == Usage()


async def test_closing_closes_the_generator():
    inner = Answering()
    await BudgetedGenerator(inner, Budget()).close()
    assert inner.closed


@given(
    calls=st.integers(0, 12),
    tokens=st.integers(0, 300),
    cost=st.floats(0, 1e-3),
    seed=st.integers(0, 99),
)
def test_no_limit_is_exceeded_whatever_happens(calls, tokens, cost, seed):
    rng = random.Random(seed)
    budget = Budget(calls, tokens, cost, price_in=1, price_out=5)
    asked = 0

    async def answer(request):
        nonlocal asked
        asked += 1
        for _ in range(rng.randrange(5)):
            await asyncio.sleep(0)
        if rng.random() < 0.3:
            raise GenerateError("no luck")
        return Generation(("fine",), Usage(1, estimate_tokens(request), rng.randint(1, request.n * request.max_tokens)))

    async def run():
        generator = BudgetedGenerator(answer, budget)
        requests = [replace(REQUEST, n=rng.randint(1, 3), max_tokens=rng.randint(1, 9)) for _ in range(30)]
        return await asyncio.gather(*map(generator, requests), return_exceptions=True)

    ends = asyncio.run(run())
    used = sum((end.usage for end in ends if isinstance(end, Generation)), Usage())
    assert asked == budget.spent.calls <= calls
    assert used.prompt_tokens + used.completion_tokens <= tokens
    assert (used.prompt_tokens + 5 * used.completion_tokens) / 1e6 <= cost * (1 + 1e-6)
    assert (budget.spent.prompt_tokens, budget.spent.completion_tokens) == (used.prompt_tokens, used.completion_tokens)
    # Nothing stays set aside.
    assert budget._reserved == Usage()


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_shares_are_together_never_more_than_the_budget(n):
    whole = Budget(20, 1000, 0.7, 2, 3)
    share = whole.share(n)
    assert whole.calls - n < n * share.calls <= whole.calls
    assert whole.tokens - n < n * share.tokens <= whole.tokens
    assert n * share.cost == pytest.approx(whole.cost)
    assert (share.price_in, share.price_out, share.spent) == (2, 3, Usage())
    assert share is not whole


@pytest.mark.parametrize(("budget", "name"), [(Budget(calls=3), "calls"), (Budget(tokens=3), "tokens")])
def test_a_budget_too_small_to_be_shared_is_told_before_anything_runs(budget, name):
    with pytest.raises(HydraError, match=f"generator.limits.{name}: 3 cannot be shared by 4 processes"):
        budget.share(4)


def test_no_limit_and_nothing_at_all_are_shared_as_they_are():
    assert Budget().share(4) == Budget()
    assert Budget(calls=0).share(4) == Budget(calls=0)


def test_a_budget_travels_to_other_processes():
    assert pickle.loads(pickle.dumps(Budget(20, 1000, 0.7, 2, 3))) == Budget(20, 1000, 0.7, 2, 3)


def elapsed(pace, requests):
    """Seconds until each request may go, from the start, in a time of its own."""
    times = []

    async def go(request):
        await pace(request)
        times.append(asyncio.get_running_loop().time())

    async def go_all():
        await asyncio.gather(*map(go, requests))

    run_skipping(go_all())
    return times


def test_no_pace_holds_nothing_up():
    assert elapsed(Pace(), [REQUEST] * 1000) == [0.0] * 1000


def test_requests_beyond_a_burst_go_at_the_rate():
    # 60 and a burst of 5 s make 65: 300 * 60 / 65 go at once, and 60 * 60 / 65 = 55.4 a second then.
    times = elapsed(Pace(requests_per_minute=3600), [REQUEST] * 300)
    rate = 3600 / 65
    for gone, seconds in enumerate(times, 1):
        assert seconds == pytest.approx(max(0, gone / rate - 5), abs=1e-6)


def test_tokens_beyond_a_burst_go_at_the_rate():
    # 17 tokens each; the burst is 5000 and the rate 1000 a second.
    times = elapsed(Pace(tokens_per_minute=65_000), [REQUEST] * 310)
    for gone, seconds in enumerate(times, 1):
        assert seconds == pytest.approx(max(0, 17 * gone / 1000 - 5), abs=1e-6)


def test_a_request_above_the_burst_waits_for_what_it_is_more():
    # Burst 5000, 1000 a second; the request can come to 5507.
    times = elapsed(Pace(tokens_per_minute=65_000), [replace(REQUEST, n=1, max_tokens=5500)])
    assert times == [pytest.approx(0.507, abs=0.01)]


async def test_a_request_above_a_whole_minute_passes_as_one_of_a_minute(monkeypatch):
    taken = []

    async def acquire(self, amount):
        assert 0 <= amount <= self.max_rate
        taken.append(amount)

    monkeypatch.setattr("aiolimiter.AsyncLimiter.acquire", acquire)
    await Pace(tokens_per_minute=65)(replace(REQUEST, max_tokens=10**9))
    assert sum(taken) == pytest.approx(65)


@pytest.mark.parametrize("per_minute", [1, 2, 12, 13, 14, 60, 1000, 10**6])
def test_any_limit_lets_a_first_request_pass_at_once(per_minute):
    assert elapsed(Pace(requests_per_minute=per_minute), [REQUEST]) == [0.0]


async def test_big_requests_are_not_overtaken_for_ever():
    pace, order = Pace(tokens_per_minute=65_000), []

    async def go(name, tokens):
        await pace(replace(REQUEST, n=1, max_tokens=tokens))
        order.append(name)

    await asyncio.gather(go("first", 4900), go("big", 300), *(go("small", 1) for _ in range(5)))
    assert order == ["first", "big", *["small"] * 5]
