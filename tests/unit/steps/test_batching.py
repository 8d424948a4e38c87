import asyncio
import threading
from collections.abc import Sequence

import pytest

from hydra_ray.steps.batching import MicroBatcher


class Gate:
    """A batch function whose batches wait until it is opened."""

    def __init__(self):
        self.batches: list[list[int]] = []
        self.open = threading.Event()

    def __call__(self, asks: Sequence[int]) -> list[int]:
        self.batches.append(list(asks))
        assert self.open.wait(30)
        if 13 in asks:
            raise RuntimeError("bad luck")
        return [10 * ask for ask in asks]


async def gathered(batcher, gate, first, *later):
    """Asks `first`, then all `later` while the batch of the first is running."""
    calls = [asyncio.create_task(batcher(first))]
    while not gate.batches:
        await asyncio.sleep(0.001)
    calls += [asyncio.create_task(batcher(ask)) for ask in later]
    await asyncio.sleep(0.01)
    # While one batch runs, no other does.
    assert gate.batches == [[first]]
    gate.open.set()
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_calls_that_wait_are_answered_together_each_with_its_own_reply():
    gate = Gate()
    assert await gathered(MicroBatcher(gate, 8), gate, 1, 2, 3, 4) == [10, 20, 30, 40]
    assert gate.batches == [[1], [2, 3, 4]]


async def test_no_batch_is_larger_than_allowed():
    gate = Gate()
    assert await gathered(MicroBatcher(gate, 2), gate, 1, 2, 3, 4, 5, 6) == [10, 20, 30, 40, 50, 60]
    assert gate.batches == [[1], [2, 3], [4, 5], [6]]


async def test_a_batch_that_fails_fails_for_its_callers_only():
    gate = Gate()
    batcher = MicroBatcher(gate, 2)
    first, second, third, unlucky, fourth, fifth = await gathered(batcher, gate, 1, 2, 3, 13, 4, 5)
    assert gate.batches == [[1], [2, 3], [13, 4], [5]]
    assert (first, second, third, fifth) == (10, 20, 30, 50)
    assert str(unlucky) == str(fourth) == "bad luck"
    assert await batcher(6) == 60


async def test_a_caller_who_leaves_takes_nobody_along():
    gate = Gate()
    batcher = MicroBatcher(gate, 8)
    calls = [asyncio.create_task(batcher(ask)) for ask in (1, 2, 3)]
    while not gate.batches:
        await asyncio.sleep(0.001)
    calls[1].cancel()
    gate.open.set()
    assert await asyncio.gather(calls[0], calls[2]) == [10, 30]
    with pytest.raises(asyncio.CancelledError):
        await calls[1]


async def test_the_loop_stays_free_while_a_batch_runs():
    gate = Gate()
    call = asyncio.create_task(MicroBatcher(gate, 8)(1))
    await asyncio.sleep(0.01)
    assert not call.done()
    gate.open.set()
    assert await call == 10
