import pytest
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports
from hydra_ray.methods.ports import StepError
from hydra_ray.records import Ranked
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.seeds import stable_seed

RECIPE = recipe(shots=3, candidates=8, seed=7)


class Steps:
    """Own and peers' history, or what goes wrong with them."""

    def __init__(self, own, peers):
        self._own, self._peers, self.asked = own, peers, []

    async def retrieve(self, query, k, by):
        return self._found("retrieve", self._own, query, k, by)

    async def peers(self, query, k):
        return self._found("peers", self._peers, query, k)

    def _found(self, step, items, query, k, *more):
        self.asked.append((step, query, k, *more))
        if isinstance(items, Exception):
            raise items
        return [Ranked(item, 0.5) for item in items[:k]]

    async def never(self, *_):
        raise AssertionError("no such step in this method")

    def method(self, task, generate, recipe=RECIPE):
        ports = Ports(self.retrieve, self.never, generate, self.never, self.peers)
        return METHODS["cfrag"](ports, prompter(task), recipe)


@pytest.fixture
def llm(scripted):
    return scripted(lambda _: ["Drama."])


@pytest.fixture
def own(item):
    return [item(f"own {number}", "sci-fi") for number in range(4)]


@pytest.fixture
def others(item):
    return [item(f"other {number}", "comedy") for number in range(4)]


def shown(request):
    return [message.content.split(": ")[1] for message in request.messages[:-1] if message.role == "user"]


async def test_own_and_peers_items_are_shown_by_rank_and_one_greedy_answer_taken(tag_task, query, llm, own, others):
    steps, asked = Steps(own, others), query("A dog barks.")
    answer = await steps.method(tag_task, llm)(asked, asked.user)
    assert sorted(steps.asked) == [("peers", asked, 3), ("retrieve", asked, 3, "dense")]
    (request,) = llm.requests
    assert request.messages == prompter(tag_task)(asked, [own[0], others[0], own[1]]).messages
    assert (request.n, request.temperature, request.max_tokens) == (1, 0.0, tag_task.max_tokens)
    assert request.seed == stable_seed(7, asked.user, asked.id)
    assert (answer.query_id, answer.text, answer.head, answer.degraded) == ("A dog barks.", "drama", "none", ())
    assert (answer.usage.calls, answer.prompt) == (1, request.messages)


async def test_the_answers_history_tells_of_the_users_own_items_only(tag_task, query, llm, own, others):
    # A peer's item may have the id and even the words of the user's own.
    answer = await Steps(own[:2], others[:1] + own[:1]).method(tag_task, llm)(query("A dog barks."), None)
    assert [ranked.item for ranked in answer.history] == own[:2]


async def test_few_items_of_one_kind_leave_room_for_the_other(tag_task, query, llm, own, others):
    await Steps(own[:1], others).method(tag_task, llm)(query("A dog barks."), None)
    await Steps(own, []).method(tag_task, llm)(query("A dog barks."), None)
    assert [len(shown(request)) for request in llm.requests] == [3, 3]


async def test_a_tenant_that_did_not_opt_in_is_no_failure(tag_task, query, llm, own):
    answer = await Steps(own, []).method(tag_task, llm)(query("A dog barks."), None)
    assert (answer.degraded, [ranked.item for ranked in answer.history]) == ((), own[:3])


async def test_without_peers_the_own_history_is_shown(tag_task, query, llm, own):
    answer = await Steps(own, StepError("down")).method(tag_task, llm)(query("A dog barks."), None)
    assert (answer.text, answer.degraded) == ("drama", ("peers",))
    assert [ranked.item for ranked in answer.history] == own[:3]


async def test_without_the_retriever_peers_are_shown(tag_task, query, llm, others):
    answer = await Steps(StepError("down"), others).method(tag_task, llm)(query("A dog barks."), None)
    assert (answer.text, answer.degraded, answer.history) == ("drama", ("retriever",), ())
    assert len(shown(llm.requests[0])) == 3


async def test_without_both_the_plain_question_is_asked(tag_task, query, llm):
    down = Steps(StepError("down"), StepError("down"))
    answer = await down.method(tag_task, llm)(query("A dog barks."), None)
    assert answer.degraded == ("retriever", "peers")
    assert len(llm.requests[0].messages) == 1


async def test_a_port_that_nobody_plugged_is_a_step_that_failed(tag_task, query, llm, own):
    steps = Steps(own, [])
    ports = Ports(steps.retrieve, steps.never, llm, steps.never)
    answer = await METHODS["cfrag"](ports, prompter(tag_task), RECIPE)(query("A dog barks."), None)
    assert answer.degraded == ("peers",)


async def test_other_errors_of_peers_are_not_hidden(tag_task, query, llm, own):
    with pytest.raises(ValueError, match="a mistake"):
        await Steps(own, ValueError("a mistake")).method(tag_task, llm)(query("A dog barks."), None)


async def test_no_answer_of_the_llm_is_an_error(tag_task, query, scripted, own):
    def refuse(_):
        raise GenerateError("busy")

    with pytest.raises(GenerateError, match="busy"):
        await Steps(own, []).method(tag_task, scripted(refuse))(query("A dog barks."), None)
