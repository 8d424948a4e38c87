import asyncio

import pytest
from clocks import Clock

from hydra_ray.records import ChatRequest, Generation, Message, Usage
from hydra_ray.steps.generate import BudgetSpentError, FilteredError, GenerateError, metered
from hydra_ray.steps.generate.metered import MeteredGenerator

REQUEST = ChatRequest((Message("user", "Which tag?"),))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(metered, "time", clock)
    return clock


class Ending:
    """Ends every request as it is told, after what the sleep waits for."""

    def __init__(self, end, sleep=lambda: asyncio.sleep(0)):
        self.end, self.sleep, self.closed = end, sleep, False

    async def __call__(self, request):
        await self.sleep()
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end

    async def close(self):
        self.closed = True


async def test_an_answer_is_told_once_with_what_it_cost(clock):
    told, answer = [], Generation(("fine",), Usage(1, 7, 3))
    assert await MeteredGenerator(Ending(answer, lambda: clock.sleep(7)), told.append)(REQUEST) is answer
    (outcome,) = told
    assert (outcome.usage, outcome.error) == (Usage(1, 7, 3), None)
    assert outcome.seconds == 7


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (GenerateError("no luck", "busy", True), "busy"),
        (GenerateError("no luck"), "other"),
        (RuntimeError("a bug"), "other"),
        (FilteredError("taken", Usage(1, 7, 3)), "filtered"),
    ],
)
async def test_a_failure_is_told_once_by_its_kind_and_raised(clock, error, kind):
    told = []
    with pytest.raises(type(error)) as caught:
        await MeteredGenerator(Ending(error, lambda: clock.sleep(7)), told.append)(REQUEST)
    assert caught.value is error
    (outcome,) = told
    assert (outcome.usage, outcome.error) == (getattr(error, "usage", Usage()), kind)
    assert outcome.seconds == 7


async def test_a_request_beyond_the_budget_is_not_told():
    told = []
    with pytest.raises(BudgetSpentError):
        await MeteredGenerator(Ending(BudgetSpentError("spent")), told.append)(REQUEST)
    assert told == []


async def test_a_cancelled_request_is_not_told():
    told = []
    task = asyncio.create_task(MeteredGenerator(Ending(None, asyncio.Event().wait), told.append)(REQUEST))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == []


async def test_requests_at_the_same_time_are_told_each():
    told = []
    metered = MeteredGenerator(Ending(Generation(("fine",), Usage(1, 7, 3))), told.append)
    await asyncio.gather(*(metered(REQUEST) for _ in range(20)))
    assert [(outcome.usage, outcome.error) for outcome in told] == [(Usage(1, 7, 3), None)] * 20


async def test_closing_closes_the_generator():
    inner = Ending(None)
    await MeteredGenerator(inner, print).close()
    assert inner.closed
