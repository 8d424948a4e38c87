"""Methods that tell the LLM a profile, and hydra where it does."""

from dataclasses import replace

import pytest
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports
from hydra_ray.methods.hydra import Hydra
from hydra_ray.methods.ports import ProfileText, StepError
from hydra_ray.records import Choice, Message, Ranked
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.seeds import stable_seed

RECIPE = recipe(shots=2, candidates=3, profile_template="Know of them: $profile", seed=7)
LIKES = ProfileText("likes drama, costs $5")
TOLD = Message("system", "Know of them: likes drama, costs $5")


class Steps:
    """Ports over one history; `profile` is what the port of profiles gives or raises."""

    def __init__(self, history, llm, profile=LIKES, down=False):
        self.history, self.llm, self.profile_template, self.down = history, llm, profile, down
        self.asked = []

    async def retrieve(self, query, k, by):
        self.asked.append(("retrieve", query, k, by))
        if self.down:
            raise StepError("down")
        return [Ranked(item, 1.0) for item in self.history[:k]]

    async def rerank(self, query, ranked, head):
        return list(ranked)

    async def adapt(self, query, candidates, history_answers, head):
        return Choice(tuple(candidates), personal=True)

    async def profile(self, query, kind):
        self.asked.append(("profile", query, kind))
        if isinstance(self.profile_template, Exception):
            raise self.profile_template
        return self.profile_template

    def ports(self):
        return Ports(self.retrieve, self.rerank, self.llm, self.adapt, profile=self.profile)


@pytest.fixture
def llm(scripted):
    return scripted(lambda _: ["Drama."])


@pytest.fixture
def history(item):
    return [item("A robot falls.", "sci-fi"), item("A king weeps.", "drama"), item("Two cats.", "comedy")]


@pytest.mark.parametrize("kind", ["pag", "dpl"])
async def test_profile_and_nearest_items_are_told_and_one_greedy_answer_taken(tag_task, query, llm, history, kind):
    asked, steps = query("A dog barks."), Steps(history, llm)
    answer = await METHODS[kind](steps.ports(), prompter(tag_task), RECIPE)(asked, asked.user)
    assert steps.asked == [("retrieve", asked, 2, "bm25"), ("profile", asked, kind)]
    (request,) = llm.requests
    assert request.messages == (TOLD, *prompter(tag_task)(asked, history[:2]).messages)
    assert (request.n, request.temperature, request.max_tokens) == (1, 0.0, tag_task.max_tokens)
    assert request.seed == stable_seed(7, asked.user, asked.id)
    assert (answer.query_id, answer.text, answer.degraded, answer.head) == ("A dog barks.", "drama", (), "none")
    assert [ranked.item for ranked in answer.history] == history[:2]
    assert answer.prompt == request.messages


@pytest.mark.parametrize(("profile", "degraded"), [(ProfileText(), ()), (StepError("late"), ("profile",))])
async def test_without_a_profile_nothing_is_told_of_the_user(tag_task, query, llm, history, profile, degraded):
    asked = query("A dog barks.")
    method = METHODS["dpl"](Steps(history, llm, profile).ports(), prompter(tag_task), RECIPE)
    answer = await method(asked, None)
    assert llm.requests[0].messages == prompter(tag_task)(asked, history[:2]).messages
    assert answer.degraded == degraded


@pytest.mark.parametrize("method", [METHODS["dpl"], Hydra])
async def test_a_profile_that_tells_of_no_differences_is_told_and_the_answer_says_so(
    tag_task, query, llm, history, method
):
    steps = Steps(history, llm, replace(LIKES, degraded=True))
    answer = await method(steps.ports(), prompter(tag_task), replace(RECIPE, profile="dpl"))(query("A dog."), None)
    assert answer.degraded == ("differences",)
    assert {request.messages[0] for request in llm.requests} == {TOLD}


async def test_without_the_retriever_the_profile_alone_is_told(tag_task, query, llm, history):
    asked = query("A dog barks.")
    answer = await METHODS["pag"](Steps(history, llm, down=True).ports(), prompter(tag_task), RECIPE)(asked, None)
    assert llm.requests[0].messages == (TOLD, *prompter(tag_task)(asked, []).messages)
    assert (answer.history, answer.degraded) == ((), ("retriever",))


async def test_a_port_that_nobody_plugged_is_done_without(tag_task, query, llm, history):
    steps = Steps(history, llm)
    ports = Ports(steps.retrieve, steps.rerank, llm, steps.adapt)
    assert (await METHODS["pag"](ports, prompter(tag_task), RECIPE)(query("A dog."), None)).degraded == ("profile",)


async def test_no_answer_of_the_llm_is_an_error(tag_task, query, scripted, history):
    def refuse(_):
        raise GenerateError("busy")

    with pytest.raises(GenerateError, match="busy"):
        await METHODS["pag"](Steps(history, scripted(refuse)).ports(), prompter(tag_task), RECIPE)(query("A"), None)


async def test_hydra_tells_a_profile_where_the_recipe_says_so(tag_task, query, llm, history):
    asked, steps = query("A dog barks."), Steps(history, llm)
    answer = await Hydra(steps.ports(), prompter(tag_task), replace(RECIPE, profile="dpl"))(asked, asked.user)
    assert steps.asked[-1] == ("profile", asked, "dpl")
    assert {request.messages[0] for request in llm.requests} == {TOLD}
    assert (answer.text, answer.degraded) == ("drama", ())

    steps, before = Steps(history, llm), len(llm.requests)
    await Hydra(steps.ports(), prompter(tag_task), RECIPE)(asked, asked.user)
    assert [step for step, *_ in steps.asked] == ["retrieve"]
    assert all(request.messages[0].role == "user" for request in llm.requests[before:])


async def test_hydra_goes_on_without_a_profile_that_fails(tag_task, query, llm, history):
    asked, steps = query("A dog barks."), Steps(history, llm, StepError("late"))
    answer = await Hydra(steps.ports(), prompter(tag_task), replace(RECIPE, profile="pag"))(asked, asked.user)
    assert (answer.text, answer.degraded) == ("drama", ("profile",))
