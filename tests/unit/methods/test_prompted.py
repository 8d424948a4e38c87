from dataclasses import replace

import pytest
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports
from hydra_ray.methods.ports import StepError
from hydra_ray.methods.prompted import Prompted
from hydra_ray.records import Choice, Ranked
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.retrieval.retrievers import RETRIEVERS
from hydra_ray.steps.seeds import stable_seed

RECIPE = recipe(retrieve=10, shots=2, candidates=8, temperature=1.0, greedy=True, history_answers=24, seed=7)


class Steps:
    """The ports of methods that only prompt."""

    def __init__(self, history, generate):
        self.history, self.generate, self.asked = history, generate, []

    async def retrieve(self, query, k, by):
        self.asked.append((query, k, by))
        if isinstance(self.history, Exception):
            raise self.history
        return [Ranked(item, 1.0) for item in self.history[:k]]

    async def never(self, *_):
        raise AssertionError("no such step in this method")

    def method(self, task, by, vote=False, recipe=RECIPE):
        ports = Ports(self.retrieve, self.never, self.generate, self.never)
        return Prompted(ports, prompter(task), recipe, by, vote)


@pytest.fixture
def llm(scripted):
    return scripted(lambda _: ["Drama."])


@pytest.fixture
def history(item):
    return [item("A robot falls.", "sci-fi"), item("A king weeps.", "drama"), item("Two cats.", "comedy")]


@pytest.mark.parametrize("by", ["bm25", "random"])
async def test_retrieved_history_is_shown_and_one_greedy_answer_taken(tag_task, query, llm, history, by):
    asked, steps = query("A dog barks."), Steps(history, llm)
    answer = await steps.method(tag_task, by)(asked, asked.user)
    assert steps.asked == [(asked, 2, by)]
    (request,) = llm.requests
    assert request.messages == prompter(tag_task)(query("A dog barks."), history[:2]).messages
    assert (request.n, request.temperature, request.max_tokens) == (1, 0.0, tag_task.max_tokens)
    assert request.seed == stable_seed(7, asked.user, asked.id)
    assert (answer.query_id, answer.text, answer.head, answer.degraded) == ("A dog barks.", "drama", "none", ())
    assert [ranked.item for ranked in answer.history] == history[:2]
    assert [candidate.text for candidate in answer.candidates] == ["drama"]
    assert (answer.usage.calls, answer.truncated) == (1, 0)


async def test_zero_shot_looks_at_no_history(tag_task, query, llm, history):
    steps = Steps(history, llm)
    answer = await steps.method(tag_task, None)(query("A dog barks."), None)
    assert steps.asked == []
    assert len(llm.requests[0].messages) == 1
    assert (answer.history, answer.degraded) == ((), ())


async def test_without_the_retriever_the_plain_question_is_asked(tag_task, query, llm):
    answer = await Steps(StepError("down"), llm).method(tag_task, "bm25")(query("A dog barks."), None)
    assert (answer.text, answer.history, answer.degraded) == ("drama", (), ("retriever",))
    assert len(llm.requests[0].messages) == 1


async def test_no_answer_of_the_llm_is_an_error(tag_task, query, scripted, history):
    def refuse(_):
        raise GenerateError("busy")

    with pytest.raises(GenerateError, match="busy"):
        await Steps(history, scripted(refuse)).method(tag_task, "bm25")(query("A dog barks."), None)


async def test_an_empty_answer_stays_empty(tag_task, query, scripted, history):
    answer = await Steps(history, scripted(lambda _: [" "])).method(tag_task, "bm25")(query("A dog barks."), None)
    assert (answer.text, answer.candidates) == ("", ())


async def test_cut_texts_are_counted(tag_task, query, llm, item):
    answer = await Steps([item("word " * 60)], llm).method(tag_task, "bm25")(query("x" * 5000), None)
    assert answer.truncated == 2


def sampled(request):
    """Greedy answers are dramas; samples are mostly comedies."""
    return ["Drama."] if request.n == 1 else ["sci-fi", "comedy", "drama", "comedy", "comedy", "dunno", "comedy"]


async def test_a_vote_takes_what_the_samples_agree_on(tag_task, query, scripted, history):
    llm, asked = scripted(sampled), query("A dog barks.")
    answer = await Steps(history, llm).method(tag_task, "bm25", vote=True)(asked, None)
    assert [(c.text, c.votes) for c in answer.candidates] == [("comedy", 4), ("drama", 2), ("sci-fi", 1)]
    assert answer.text == "comedy"
    assert [(r.n, r.temperature) for r in llm.requests] == [(1, 0.0), (7, 1.0)]
    assert {r.messages for r in llm.requests} == {prompter(tag_task)(asked, history[:2]).messages}
    assert {r.seed for r in llm.requests} == {stable_seed(7, asked.user, asked.id)}
    assert (answer.usage.calls, answer.degraded) == (2, ())


async def test_a_vote_has_the_very_samples_that_hydra_chooses_among(tag_task, query, scripted, history):
    voter, chooser = scripted(sampled), scripted(sampled)
    steps = Steps(history, voter)
    await steps.method(tag_task, "bm25", vote=True)(query("A dog barks."), None)

    async def as_they_are(query, candidates, history_answers, head):
        return Choice(tuple(candidates), personal=False)

    ports = Ports(steps.retrieve, steps.never, chooser, as_they_are)
    await METHODS["hydra-adapter"](ports, prompter(tag_task), RECIPE)(query("A dog barks."), None)
    assert voter.requests == chooser.requests


async def test_a_vote_without_the_greedy_answer_is_one_request(tag_task, query, scripted, history):
    llm = scripted(sampled)
    await Steps(history, llm).method(tag_task, None, vote=True, recipe=replace(RECIPE, greedy=False))(query("x"), None)
    assert [(r.n, r.temperature) for r in llm.requests] == [(8, 1.0)]


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("zero-shot", None),
        ("icl", "random"),
        ("rag", "bm25"),
        ("rag-dense", "dense"),
        ("rag-recent", "recent"),
        ("rag-mixed", "mixed"),
        ("rag-hybrid", "hybrid"),
        ("zero-shot-vote", None),
        ("icl-vote", "random"),
        ("rag-vote", "bm25"),
        ("rag-dense-vote", "dense"),
        ("rag-mixed-vote", "mixed"),
    ],
)
def test_methods_are_known_by_name(tag_task, name, by):
    method = METHODS[name](Ports(None, None, None, None), prompter(tag_task), RECIPE)
    assert isinstance(method, Prompted)
    assert method.by == by
    assert by is None or by in RETRIEVERS
    assert method.vote == name.endswith("-vote")
