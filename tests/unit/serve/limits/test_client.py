"""A replica asks the limiter for all requests that came meanwhile, and counts by itself where it is down."""

import asyncio
import itertools
import logging

from clocks import Clock, run_skipping

from hydra_ray.serve.limits.client import LimiterClient
from hydra_ray.serve.limits.quotas import NO_LIMIT, Limited, Quotas

ACME = Limited("tenant:acme", "tenant", NO_LIMIT._replace(requests_per_minute=5, tokens_per_minute=1_000))


class Counting:
    """The limiter in this process."""

    def __init__(self):
        self.quotas, self.calls, self.broken = Quotas(Clock().time, {}), [], False

    async def __call__(self, asked, answered):
        self.calls.append((len(asked), len(answered)))
        await asyncio.sleep(0)
        if self.broken:
            raise RuntimeError("down")
        for limited, tokens in answered:
            self.quotas.charge(limited, tokens)
        return [self.quotas.admit(limited) for limited in asked]


async def test_requests_that_come_together_are_one_call():
    count = Counting()
    gate = LimiterClient(count, 60, lambda: None)
    admissions = await asyncio.gather(*(gate.admit([ACME]) for _ in range(50)))
    assert sum(one.refused is None for one in admissions) == 5
    assert count.calls == [(50, 0)]


async def test_what_an_answer_took_is_told_without_waiting():
    count = Counting()
    gate = LimiterClient(count, 60, lambda: None)
    gate.charge([ACME], 400)
    assert (await gate.admit([ACME])).levels["tokens"].left == 600
    assert sum(answered for _, answered in count.calls) == 1


async def test_where_the_limiter_is_down_the_replica_counts_by_itself(caplog):
    count, failures = Counting(), []
    gate = LimiterClient(count, 60, lambda: failures.append(1))
    count.broken = True
    with caplog.at_level(logging.WARNING):
        admissions = [await gate.admit([ACME]) for _ in range(8)]
    assert sum(one.refused is None for one in admissions) == 5
    assert len(failures) == 8
    assert "limiter did not answer" in caplog.text
    count.broken = False
    assert (await gate.admit([ACME])).refused is None


async def test_who_left_meanwhile_holds_up_nobody():
    gate = LimiterClient(Counting(), 60, lambda: None)
    left = asyncio.ensure_future(gate.admit([ACME]))
    await asyncio.sleep(0)
    left.cancel()
    assert (await gate.admit([ACME])).refused is None


async def test_a_limiter_that_is_too_slow_is_done_without():
    async def slow(asked, answered):
        await asyncio.sleep(3600)

    failures = []
    gate = LimiterClient(slow, 0.01, lambda: failures.append(1))
    assert [(await gate.admit([ACME])).refused for _ in range(6)] == [None] * 5 + ["requests"]
    assert len(failures) == 6


def test_a_limiter_that_died_is_waited_for_once_and_then_for_moments_until_it_answers_again():
    count, is_there = Counting(), []

    async def gone(asked, answered):
        if not is_there:
            await asyncio.sleep(3600)
        return await count(asked, answered)

    async def waits():
        gate, moments = LimiterClient(gone, 60, lambda: None), [asyncio.get_running_loop().time()]
        for number in range(5):
            is_there.extend([True] * (number == 3))
            await gate.admit([ACME])
            moments.append(asyncio.get_running_loop().time())
        is_there.clear()
        await gate.admit([ACME])
        moments.append(asyncio.get_running_loop().time())
        return [after - before for before, after in itertools.pairwise(moments)]

    first, *others, last = run_skipping(waits())
    assert first >= 60
    assert max(others) < 1
    # It answered meanwhile.
    assert last >= 60
