"""hydra's candidates from several prompts."""

import asyncio
from dataclasses import replace

import pytest
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports
from hydra_ray.methods.hydra import Hydra
from hydra_ray.methods.ports import ProfileText, StepError
from hydra_ray.records import Choice, Ranked, Sampling, Source, Usage, UserKey, Wishes
from hydra_ray.steps.decide import by_expected_score
from hydra_ray.steps.generate import FilteredError, GenerateError
from hydra_ray.steps.sources import PromptShare
from hydra_ray.tasks import TEXT_TASK

ANN = UserKey("acme", "ann")
MIX = (PromptShare("zero-shot", 2, True), PromptShare("recent", 3, True), PromptShare("reranked", 3, False))
RECIPE = recipe(rerank=True, retrieve=4, shots=2, candidates=8, history_answers=5, seed=7, mix=MIX)


class Steps:
    """Ports over one history: each retriever has an order of its own, and the LLM says which prompt it reads.

    Args:
        history: Items of the user.
        say: Gives the texts of a request and the name of its prompt.
        asks_again: Whether a query that failed for now is asked again later, so that nothing is done without.
    """

    def __init__(self, history, say, asks_again=False):
        self.history, self.say, self.asks_again = history, say, asks_again
        self.retrieved, self.requests, self.offered, self.profiles = [], [], (), 0

    async def retrieve(self, query, k, by):
        self.retrieved.append((by, k))
        order = self.history if by == "bm25" else self.history[::-1]
        return [Ranked(item, 1.0) for item in order[:k]]

    async def rerank(self, query, ranked, head):
        return list(reversed(ranked))

    async def adapt(self, query, candidates, history_answers, head):
        self.offered = candidates
        return Choice(tuple(candidates), personal=True)

    async def profile(self, query, kind):
        self.profiles += 1
        return ProfileText(f"likes {kind}")

    async def answer(self, scripted, task, query, given=RECIPE, method="hydra"):
        llm = scripted(lambda request: self.say(request, self.prompt_of(request)))
        ports = Ports(self.retrieve, self.rerank, llm, self.adapt, profile=self.profile, asks_again=self.asks_again)
        answer = await METHODS[method](ports, prompter(task), given)(query, ANN)
        self.requests = llm.requests
        return answer

    def prompt_of(self, request):
        """The name of the prompt by its first message, which asks about the first item shown."""
        if request.messages[0].role == "system":
            return "profile"
        if len(request.messages) == 1:
            return "zero-shot"
        shown = [place for place, item in enumerate(self.history) if item.input in request.messages[0].content]
        return {0: "bm25", len(self.history) - 1: "recent", 3: "reranked"}[shown[0]]


@pytest.fixture
def history(item):
    return [item(f"film {number}", f"tag {number}") for number in range(7)]


@pytest.fixture
def film(query):
    return query("A dog barks.")


def says(request, prompt):
    """Greedily each prompt says its own name; its samples are a word of their own and one that all prompts say."""
    return [prompt] if not request.temperature else [f"{prompt} {n}" for n in range(request.n - 1)] + ["all say so"]


async def test_all_prompts_are_asked_and_their_answers_are_one_pool(scripted, history, film):
    steps = Steps(history, says)
    answer = await steps.answer(scripted, TEXT_TASK, film)
    assert sorted((steps.prompt_of(r), r.n, r.temperature) for r in steps.requests) == [
        ("recent", 1, 0.0),
        ("recent", 2, 0.7),
        ("reranked", 3, 0.7),
        ("zero-shot", 1, 0.0),
        ("zero-shot", 1, 0.7),
    ]
    assert sum(r.n for r in steps.requests) == RECIPE.candidates
    assert {c.text: c.sources for c in steps.offered} == {
        "zero-shot": (Source("zero-shot", 1, greedy=True),),
        "all say so": (
            Source("zero-shot", 1, greedy=False),
            Source("recent", 1, greedy=False),
            Source("reranked", 1, greedy=False),
        ),
        "recent": (Source("recent", 1, greedy=True),),
        "recent 0": (Source("recent", 1, greedy=False),),
        "reranked 0": (Source("reranked", 1, greedy=False),),
        "reranked 1": (Source("reranked", 1, greedy=False),),
    }
    assert all(sum(source.votes for source in c.sources) == c.votes for c in answer.candidates)
    assert steps.retrieved == [("bm25", 5), ("recent", 2)], "each retriever once"
    assert [ranked.item.input for ranked in answer.history] == ["film 6", "film 5", "film 3", "film 2"]
    assert (answer.prompt, answer.usage.calls, answer.degraded) == (steps.requests[0].messages, 5, ())


async def test_the_llm_is_asked_all_prompts_at_once(history, film):
    steps, waiting = Steps(history, says), 0
    all_there = asyncio.Event()

    async def generate(request):
        nonlocal waiting
        waiting += 1
        if waiting == 5:
            all_there.set()
        await asyncio.wait_for(all_there.wait(), 60)
        raise GenerateError("enough", "refused")

    method = Hydra(Ports(steps.retrieve, steps.rerank, generate, steps.adapt), prompter(TEXT_TASK), RECIPE)
    with pytest.raises(GenerateError, match="enough"):
        await method(film, ANN)


async def test_of_a_user_without_history_the_one_greedy_answer_is_paid_for_once(scripted, film):
    steps = Steps([], says)
    answer = await steps.answer(scripted, TEXT_TASK, film)
    assert [r.n for r in steps.requests if not r.temperature] == [1]
    assert answer.candidates[0].sources == (
        Source("zero-shot", 1, greedy=True),
        Source("recent", 1, greedy=True),
    ), "it is the answer to both"
    assert len({r.seed for r in steps.requests if r.temperature}) == 3


def failing(prompt, error):
    def say(request, asked):
        if asked == prompt:
            raise error
        return says(request, asked)

    return say


@pytest.mark.parametrize("kind", ["timeout", "refused"])
async def test_a_prompt_that_is_not_answered_is_done_without_and_named(scripted, history, film, kind, caplog):
    steps = Steps(history, failing("recent", GenerateError("down", kind)))
    answer = await steps.answer(scripted, TEXT_TASK, film)
    assert answer.degraded == ("prompt:recent",)
    assert {source.prompt for c in answer.candidates for source in c.sources} == {"zero-shot", "reranked"}
    assert any("prompt recent" in record.getMessage() for record in caplog.records)


async def test_where_no_prompt_is_answered_the_failure_is_the_answers(scripted, history, film):
    def say(request, prompt):
        raise GenerateError(f"{prompt} down", "timeout")

    with pytest.raises(GenerateError, match="zero-shot down"):
        await Steps(history, say).answer(scripted, TEXT_TASK, film)


async def test_what_is_asked_again_later_waits_for_all_that_may_come(scripted, history, film):
    for_now = Steps(history, failing("recent", GenerateError("down", "timeout")), asks_again=True)
    with pytest.raises(GenerateError, match="down"):
        await for_now.answer(scripted, TEXT_TASK, film)
    for_good = Steps(history, failing("recent", GenerateError("too long", "refused")), asks_again=True)
    assert (await for_good.answer(scripted, TEXT_TASK, film)).degraded == ("prompt:recent",)


async def test_what_a_filter_took_is_no_failure_of_its_prompt(scripted, history, film):
    steps = Steps(history, failing("recent", FilteredError("taken", Usage(1, 10, 2))))
    answer = await steps.answer(scripted, TEXT_TASK, film)
    assert (answer.degraded, answer.usage.calls) == ((), 5)
    with pytest.raises(FilteredError):
        await Steps(history, lambda *asked: failing(asked[1], FilteredError("taken", Usage()))(*asked)).answer(
            scripted, TEXT_TASK, film
        )


async def test_a_clients_wishes_hold(scripted, history, film):
    steps = Steps(history, says)
    await steps.answer(scripted, TEXT_TASK, replace(film, wishes=Wishes(temperature=0.0)))
    assert [(steps.prompt_of(r), r.n, r.temperature) for r in steps.requests] == [("zero-shot", 1, 0.0)]
    await steps.answer(scripted, TEXT_TASK, replace(film, wishes=Wishes(n=10, temperature=0.3, max_tokens=5, seed=1)))
    assert sum(r.n for r in steps.requests) == 10
    assert {r.temperature for r in steps.requests} == {0.0, 0.3}
    assert {r.max_tokens for r in steps.requests} == {5}
    seeded = {r.seed for r in steps.requests}
    await steps.answer(scripted, TEXT_TASK, film)
    assert not seeded & {r.seed for r in steps.requests}


async def test_of_json_the_valid_answers_of_all_prompts_compete(scripted, history, film):
    def say(request, prompt):
        return ['{"a": 1}' if prompt == "recent" else "no JSON"] * request.n

    wishes = Wishes(sampling=Sampling(response_format='{"type": "json_object"}'))
    answer = await Steps(history, say).answer(scripted, TEXT_TASK, replace(film, wishes=wishes))
    assert [(c.text, c.sources) for c in answer.candidates] == [('{"a": 1}', (Source("recent", 3, greedy=True),))]
    assert answer.degraded == ()


async def test_the_profile_is_told_in_its_own_prompt_alone(scripted, history, film):
    mix = (PromptShare("profile", 1, True), PromptShare("bm25", 1, True))
    steps = Steps(history, says)
    given = replace(RECIPE, mix=mix, candidates=2, profile="pag")
    await steps.answer(scripted, TEXT_TASK, film, given)
    assert [r.messages[0].role for r in steps.requests] == ["system", "user"]
    without = replace(given, mix=(PromptShare("bm25", 1, True), PromptShare("recent", 1, True)))
    steps = Steps(history, says)
    await steps.answer(scripted, TEXT_TASK, film, without)
    assert steps.profiles == 0


async def test_a_retriever_that_fails_for_all_prompts_is_named_once(scripted, history, film):
    steps = Steps(history, says)

    async def down(query, k, by):
        raise StepError("down")

    steps.retrieve = down
    assert (await steps.answer(scripted, TEXT_TASK, film)).degraded == ("retriever",)


@pytest.mark.parametrize("method", ["rag", "rag-vote", "zero-shot", "hydra-reranker"])
async def test_methods_that_do_not_adapt_have_one_prompt_whatever_the_mix(scripted, history, film, method):
    steps, plain = Steps(history, says), Steps(history, says)
    mixed = await steps.answer(scripted, TEXT_TASK, film, method=method)
    assert mixed == await plain.answer(scripted, TEXT_TASK, film, replace(RECIPE, mix=()), method)
    assert steps.requests == plain.requests
    sources = {source.prompt for c in mixed.candidates for source in c.sources}
    assert sources == {{"zero-shot": "zero-shot", "hydra-reranker": "reranked"}.get(method, "bm25")}


async def test_the_text_that_is_most_like_all_others_is_expected_to_please_whoever_said_them(scripted, history, film):
    def say(request, prompt):
        own = {"zero-shot": "a dog barks at night", "recent": "the dog barks at night", "reranked": "cats sleep"}
        return [own[prompt]] * request.n

    steps = Steps(history, say)
    answer = await steps.answer(scripted, TEXT_TASK, film)
    assert by_expected_score(TEXT_TASK, answer.candidates)[0].text in ("a dog barks at night", "the dog barks at night")
