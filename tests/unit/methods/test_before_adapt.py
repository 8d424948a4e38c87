"""A method says at once that a query's candidates will be judged, where no reranker reads the query before."""

from contextlib import asynccontextmanager

import pytest
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports
from hydra_ray.records import Choice, Ranked, UserKey
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.sources import PromptShare

ANN = UserKey("acme", "ann")
WITHOUT_RERANKED = (PromptShare("zero-shot", 2, True), PromptShare("recent", 2, True))
WITH_RERANKED = (PromptShare("zero-shot", 2, True), PromptShare("reranked", 2, True))


@pytest.fixture
def order(scripted, tag_task, query, item):
    """In which order a method asks its ports, and how the first one's context begins and ends."""

    async def ask(name, texts=("comedy", "drama"), **numbers):
        asked = []

        @asynccontextmanager
        async def before_adapt(query):
            asked.append("begun")
            try:
                yield
            finally:
                asked.append("ended")

        async def retrieve(query, k, by):
            asked.append("retrieve")
            return [Ranked(item("A king weeps.", "drama"), 1.0)]

        async def rerank(query, ranked, head):
            asked.append("rerank")
            return list(ranked)

        async def adapt(query, candidates, history_answers, head):
            asked.append("adapt")
            return Choice(tuple(candidates), personal=True)

        def say(request):
            asked.append("generate")
            if not texts:
                raise GenerateError("busy")
            return texts

        ports = Ports(retrieve, rerank, scripted(say), adapt, before_adapt=before_adapt)
        method = METHODS[name](ports, prompter(tag_task), recipe(**{"greedy": False, "rerank": True, **numbers}))
        try:
            await method(query("A dog barks."), ANN)
        except GenerateError:
            asked.append("failed")
        return asked

    return ask


async def test_the_adapter_is_told_before_anything_is_asked_and_until_it_has_chosen(order):
    assert await order("hydra-adapter") == ["begun", "retrieve", "generate", "adapt", "ended"]


async def test_what_was_begun_ends_with_a_request_that_fails(order):
    assert await order("hydra-adapter", texts=()) == ["begun", "retrieve", "generate", "ended", "failed"]


async def test_without_a_reranker_hydra_tells_the_adapter_at_once(order):
    assert await order("hydra", rerank=False) == ["begun", "retrieve", "generate", "adapt", "ended"]


@pytest.mark.parametrize(
    ("name", "mix", "is_told"),
    [
        ("hydra", (), False),
        ("hydra", WITH_RERANKED, False),
        # No reranker is asked.
        ("hydra", WITHOUT_RERANKED, True),
        ("hydra-adapter", WITH_RERANKED, True),
        # No adapter is.
        ("hydra-reranker", (), False),
        ("rag-vote", (), False),
    ],
)
async def test_nothing_is_begun_where_a_reranker_encodes_the_query_or_nobody_does(order, name, mix, is_told):
    assert ("begun" in await order(name, mix=mix)) == is_told
