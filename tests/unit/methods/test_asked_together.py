"""The requests of one prompt are asked by one call; each ends in its own way, as those that are asked one by one."""

import pytest
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports
from hydra_ray.records import Choice, Generation, Ranked, Usage, UserKey
from hydra_ray.steps.generate import FilteredError, GenerateError
from hydra_ray.steps.sources import PromptShare

ANN = UserKey("acme", "ann")
MIX = (PromptShare("zero-shot", 3, True), PromptShare("recent", 2, False))
FILTERED = FilteredError("no", Usage(1, 5, 0))
BUSY = GenerateError("busy", "busy", transient=True)
REFUSED = GenerateError("too long", "refused")


def is_greedy(request):
    return request.temperature == 0


class Asked:
    """A method's generator, which notes what it is asked.

    Args:
        fails: Gives the error of a request, or None.
        together: Whether it takes several requests by one call.
        down: Error of every call.
    """

    def __init__(self, fails=lambda request: None, together=True, down=None):
        self.fails, self.together, self.down, self.calls = fails, together, down, []

    def end(self, request):
        return self.fails(request) or Generation(("comedy",) * request.n, Usage(1, 5, 1))

    async def one(self, request):
        self.calls.append((request,))
        if isinstance(found := self.down or self.end(request), GenerateError):
            raise found
        return found

    async def all(self, requests):
        self.calls.append(tuple(requests))
        if self.down:
            raise self.down
        return [self.end(request) for request in requests]


@pytest.fixture
def answer(tag_task, query, item):
    async def ask(asked, mix=MIX, asks_again=False):
        async def retrieve(query, k, by):
            return [Ranked(item("A king weeps.", "drama"), 1.0)]

        async def adapt(query, candidates, history_answers, head):
            return Choice(tuple(candidates), personal=True)

        more = {"generate_all": asked.all} if asked.together else {}
        ports = Ports(retrieve, None, asked.one, adapt, asks_again=asks_again, **more)
        given = recipe(mix=mix, candidates=4, greedy=True, allowed_answers=0)
        return await METHODS["hydra-adapter"](ports, prompter(tag_task), given)(query("A dog barks."), ANN)

    return ask


async def test_each_prompt_is_one_call(answer):
    asked = Asked()
    await answer(asked)
    assert [[(is_greedy(one), one.n) for one in call] for call in asked.calls] == [
        [(True, 1), (False, 2)],
        [(False, 2)],
    ]


async def test_of_one_prompt_a_request_is_one_call(answer):
    asked = Asked()
    found = await answer(asked, mix=())
    assert [[(is_greedy(one), one.n) for one in call] for call in asked.calls] == [[(True, 1), (False, 3)]]
    assert (found.candidates[0].votes, found.usage) == (4, Usage(2, 10, 2))


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("error", "votes", "degraded"),
    [(None, 5, ()), (FILTERED, 4, ()), (BUSY, 4, ("prompt:zero-shot",)), (REFUSED, 4, ("prompt:zero-shot",))],
)
async def test_a_request_that_fails_costs_its_own_answers_alone(answer, together, error, votes, degraded):
    found = await answer(Asked(lambda request: error if is_greedy(request) else None, together))
    assert (found.candidates[0].votes, found.degraded) == (votes, degraded)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("mix", "asks_again"), [((), False), (MIX, True)])
async def test_what_cannot_be_done_without_fails_the_method(answer, together, mix, asks_again):
    asked = Asked(lambda request: BUSY if is_greedy(request) else None, together)
    with pytest.raises(GenerateError, match="busy"):
        await answer(asked, mix=mix, asks_again=asks_again)


async def test_a_call_that_fails_costs_its_prompt_alone(answer):
    class First(Asked):
        async def all(self, requests):
            raise BUSY

    found = await answer(First())
    assert (found.candidates[0].votes, found.degraded) == (2, ("prompt:zero-shot",))
    with pytest.raises(GenerateError, match="busy"):
        await answer(Asked(down=BUSY))
