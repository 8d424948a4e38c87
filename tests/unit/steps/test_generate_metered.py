import asyncio
from dataclasses import asdict

import pytest

from hydra_ray.records import ChatRequest, Generation, Message, Usage
from hydra_ray.steps.generate import BudgetSpentError, GenerateError
from hydra_ray.steps.generate.metered import MeteredGenerator, Outcome, Tally

REQUEST = ChatRequest((Message("user", "Which tag?"),))


class Ending:
    """Ends every request as it is told, after some time."""

    def __init__(self, end, seconds=0.0):
        self.end, self.seconds, self.closed = end, seconds, False

    async def __call__(self, request):
        await asyncio.sleep(self.seconds)
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end

    async def close(self):
        self.closed = True


async def test_an_answer_is_told_once_with_what_it_cost():
    told, answer = [], Generation(("fine",), Usage(1, 7, 3))
    assert await MeteredGenerator(Ending(answer, seconds=0.05), told.append)(REQUEST) is answer
    (outcome,) = told
    assert (outcome.usage, outcome.error) == (Usage(1, 7, 3), None)
    assert outcome.seconds >= 0.04


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (GenerateError("no luck", "busy", True), "busy"),
        (GenerateError("no luck"), "other"),
        (RuntimeError("a bug"), "other"),
    ],
)
async def test_a_failure_is_told_once_by_its_kind_and_raised(error, kind):
    told = []
    with pytest.raises(type(error)) as caught:
        await MeteredGenerator(Ending(error, seconds=0.05), told.append)(REQUEST)
    assert caught.value is error
    (outcome,) = told
    assert (outcome.usage, outcome.error) == (Usage(), kind)
    assert outcome.seconds >= 0.04


async def test_a_request_beyond_the_budget_is_not_told():
    told = []
    with pytest.raises(BudgetSpentError):
        await MeteredGenerator(Ending(BudgetSpentError("spent")), told.append)(REQUEST)
    assert told == []


async def test_a_cancelled_request_is_not_told():
    told = []
    task = asyncio.create_task(MeteredGenerator(Ending(None, seconds=60), told.append)(REQUEST))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == []


async def test_requests_at_the_same_time_are_told_each():
    tally = Tally()
    metered = MeteredGenerator(Ending(Generation(("fine",), Usage(1, 7, 3))), tally.add)
    await asyncio.gather(*(metered(REQUEST) for _ in range(20)))
    assert (tally.calls, tally.prompt_tokens, tally.completion_tokens) == (20, 140, 60)


async def test_closing_closes_the_generator():
    inner = Ending(None)
    await MeteredGenerator(inner, print).close()
    assert inner.closed


def tally(*outcomes):
    total = Tally()
    for outcome in outcomes:
        total.add(outcome)
    return total


ANSWERED = Outcome(2.0, Usage(1, 7, 3), None)
CACHED = Outcome(0.5, Usage(0, 7, 3, cached=1), None)
BUSY, SLOW = Outcome(1.0, Usage(), "busy"), Outcome(4.0, Usage(), "timeout")


def test_a_tally_adds_up_what_it_is_told():
    assert asdict(tally(ANSWERED, CACHED, BUSY, BUSY, SLOW)) == {
        "calls": 1,
        "prompt_tokens": 14,
        "completion_tokens": 6,
        "cached": 1,
        "failed": {"busy": 2, "timeout": 1},
        "seconds": 8.5,
    }


def test_tallies_of_processes_add_up_to_the_tally_of_all():
    one, other = tally(ANSWERED, BUSY), tally(CACHED, SLOW, BUSY)
    assert one + other == tally(ANSWERED, BUSY, CACHED, SLOW, BUSY)
    # The parts stay as they were.
    assert (one, other) == (tally(ANSWERED, BUSY), tally(CACHED, SLOW, BUSY))
