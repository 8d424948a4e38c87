"""What a collection will ask is told exactly, without asking."""

import asyncio
from dataclasses import replace

import pytest
from defaults import answer_cache, embedded_generator, estimate, prompter, recipe, splitting

from hydra_ray.learn.collect.estimate import chat_token_counter
from hydra_ray.learn.collect.labeler import Labeler
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.requests import RequestWriter
from hydra_ray.records import Generation, Usage
from hydra_ray.settings import LimitSettings
from hydra_ray.steps.generate.cache import CachedGenerator, ask_key
from hydra_ray.steps.generate.checkpoints import DEMO_CHECKPOINT

# One request for all candidates, so that every call and vote can be counted.
RECIPE = recipe(greedy=False, shots=2, candidates=4, temperature=0.9, history_answers=3, seed=7)


@pytest.fixture
def examples(query, item):
    """Two users with the same film: without history they are asked the same."""
    return [
        Example(query("a robot", user="ann"), "comedy", (item("a dog", "drama"), item("a cat", "drama")), pseudo=False),
        Example(query("a robot", user="bob"), "comedy", (item("a cow", "drama"),), pseudo=False),
    ]


@pytest.fixture
def questions(tag_task):
    return RequestWriter(prompter(tag_task), RECIPE, 2)


def test_it_is_what_is_asked_then(scripted, examples, questions):
    cache = answer_cache(":memory:")
    ahead = estimate(examples, questions, cache, "m", lambda request: 10, exact=False)
    assert (ahead.examples, ahead.requests, ahead.repeated, ahead.cached) == (2, 6, 1, 0)
    assert (ahead.prompt_tokens, ahead.completion_tokens) == (60, 16 * (1 + 2 + 4 + 1 + 4))
    llm = scripted(lambda request: ["drama"] * request.n)
    asker = Labeler(CachedGenerator(llm, cache, "m"), questions.prompter.task)
    asyncio.run(asker(questions(examples[0])))
    later = estimate(examples, questions, cache, "m", lambda request: 10, exact=False)
    assert (later.requests, later.cached) == (6, 4)
    asyncio.run(asker(questions(examples[1])))
    assert len(llm.requests) == ahead.requests
    assert estimate(examples, questions, cache, "other model", lambda request: 10, exact=False).cached == 0


def test_samples_that_are_asked_one_by_one_are_calls_of_their_own(scripted, examples, questions, capsys):
    from rich.console import Console

    cache = answer_cache(":memory:")
    ahead = estimate(examples, questions, cache, "m", lambda request: 10, False, most_samples=1, reasoning_tokens=100)
    # Of each user four samples come to three calls more.
    assert (ahead.requests, ahead.repeated, ahead.cached) == (6 + 2 * 3, 1, 0)
    assert (ahead.prompt_tokens, ahead.completion_tokens) == (12 * 10, (16 + 100) * (1 + 2 + 4 + 1 + 4))
    Console(width=200).print(ahead.table(LimitSettings(calls=11)))
    shown = capsys.readouterr().out
    assert "at most 1 of a request" in shown
    assert "generator.limits.calls is 11" in shown
    llm = scripted(lambda request: ["drama"] * request.n)
    split = splitting(llm, lambda: 1, cache, "m")
    asker = Labeler(CachedGenerator(split, cache, "m"), questions.prompter.task)
    feedback = asyncio.run(asker(questions(examples[0])))
    assert feedback.usage.calls == len(llm.requests) == 7
    later = estimate(examples, questions, cache, "m", lambda request: 10, False, most_samples=1)
    assert (later.requests, later.cached) == (12, 7)
    # A sample is there of what was not answered whole.
    several = questions(examples[1]).several[-1]
    cache.put(ask_key("m", replace(several, n=1, seed=several.seed + 1)), Generation(("drama",), Usage(1, 10, 1)))
    assert estimate(examples, questions, cache, "m", lambda request: 10, False, most_samples=1).cached == 8


def test_tokens_are_the_models_own_count(examples, questions):
    count = chat_token_counter(DEMO_CHECKPOINT)
    generator = embedded_generator("demo")
    for request in questions(examples[0]).requests:
        assert asyncio.run(generator(request)).usage.prompt_tokens == count(request)


def test_the_table_names_the_price_and_a_limit_that_is_too_small(examples, questions, capsys):
    from rich.console import Console

    ahead = estimate(examples, questions, None, "m", lambda request: 1_000_000, exact=True)
    limits = LimitSettings(price_in=2.0, price_out=1.0, calls=5, tokens=10**9)
    Console(width=200).print(ahead.table(limits))
    shown = capsys.readouterr().out
    assert "at most 12.00" in shown
    assert "generator.limits.calls is 5" in shown
    assert "generator.limits.tokens" not in shown
    assert "counted with the model's tokenizer" in shown
