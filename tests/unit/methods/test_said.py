"""Which answers a method has said, so that they can be heard while the LLM makes them."""

import pytest
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports
from hydra_ray.records import Choice, Generation, Query, Usage, UserKey
from hydra_ray.tasks import CHAT_TASK
from hydra_ray.tasks.base import Task

ANN = UserKey("acme", "ann")
TAGS = Task(name="tags", kind="classification", labels=("calm", "wild"))


async def ways(method, task, candidates):
    """How the LLM is asked: by which port, and for how many samples."""
    asked = []

    def port(name):
        async def ask(request):
            asked.append((name, request.n))
            return Generation(("calm",) * request.n, Usage(1))

        return ask

    async def retrieve(query, k, by):
        return []

    async def adapt(query, candidates, history_answers, head):
        return Choice(tuple(candidates), personal=True)

    ports = Ports(retrieve, None, port("generate"), adapt, say=port("say"))
    answer = await METHODS[method](ports, prompter(task), recipe(candidates=candidates))(Query("q", ANN, "x"), ANN)
    assert answer.text == "calm"
    return asked


@pytest.mark.parametrize("method", ["rag", "zero-shot", "icl", "pag", "hydra-reranker"])
async def test_one_free_answer_is_said(method):
    assert await ways(method, CHAT_TASK, 8) == [("say", 1)]


async def test_hydra_says_its_only_candidate():
    assert await ways("hydra", CHAT_TASK, 1) == [("say", 1)]


async def test_candidates_are_not_said_before_the_choice():
    assert {name for name, _ in await ways("hydra", CHAT_TASK, 3)} == {"generate"}
    assert {name for name, _ in await ways("rag-vote", CHAT_TASK, 3)} == {"generate"}


@pytest.mark.parametrize("method", ["rag", "hydra-reranker"])
async def test_answers_that_are_parsed_are_not_said(method):
    assert await ways(method, TAGS, 1) == [("generate", 1)]
