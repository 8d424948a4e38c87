"""Asks the LLM each query by several prompts, once: what was asked before comes from the cache of answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra_ray.evaluate.crossval.recipes import TriedPrompt
from hydra_ray.learn.collect.plan import Example
from hydra_ray.records import LEFT_TO_THE_LLM, Candidate, ChatRequest, Usage
from hydra_ray.runtime.embedding import make_embedder
from hydra_ray.runtime.factory import make_prompter
from hydra_ray.runtime.generators import generator_identity, make_generator, open_cache
from hydra_ray.settings import Settings
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.candidates import PromptRequest, Sample, candidate_requests
from hydra_ray.steps.generate.cache import ask_key
from hydra_ray.steps.generate.failures import Failure, FailureLog, ask_each
from hydra_ray.steps.retrieval.retrievers import retriever
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.tasks import Task

# Prompts under way: enough to keep an endpoint busy.
_IN_FLIGHT = 128

Requests = tuple[ChatRequest, ...]


@dataclass(frozen=True, slots=True)
class AskedQuery:
    """What the LLM said to one query.

    Attributes:
        example: The query with its gold answer and the history that it may see.
        samples: Answers by prompt, in the order in which they were asked for; none where the LLM refused.
    """

    example: Example
    samples: Mapping[str, tuple[Sample, ...]]

    def candidates(self, task: Task, mix: Mapping[str, int]) -> tuple[Candidate, ...]:
        """Return the distinct answers of a mix, with their votes and sources.

        Args:
            task: Task that parses answers.
            mix: Number of answers by prompt; the first ones count.
        """
        return distinct_candidates(task, [one for name, count in mix.items() for one in self.samples[name][:count]])


@dataclass(frozen=True, slots=True)
class AskPlan:
    """Requests about examples, by prompt.

    Attributes:
        examples: Examples, in a fixed order.
        requests: Requests about each of them, by prompt.
        calls: Number of distinct requests.
        known: Number of those that were answered before.
    """

    examples: Sequence[Example]
    requests: Sequence[Mapping[str, Requests]]
    calls: int
    known: int


def plan_asking(settings: Settings, task: Task, examples: Sequence[Example], prompts: Sequence[TriedPrompt]) -> AskPlan:
    """Write the requests, and look how many of them were answered before.

    Args:
        settings: Say how prompts are written, and where answers are kept.
        task: Task of the examples.
        examples: Examples to ask about.
        prompts: Ways to ask each.
    """
    prompter, embed, stemmer = make_prompter(settings, task), make_embedder(settings), settings.method.stemmer

    def requests(example: Example, prompt: TriedPrompt) -> Requests:
        query, shown = example.query, []
        if prompt.retriever is not None:
            found = retriever(prompt.retriever, embed, stemmer)(query, example.history, prompt.shots)
            shown = [ranked.item for ranked in found]
        return candidate_requests(
            prompter(query, shown).messages,
            prompt.samples,
            prompt.temperature,
            prompt.greedy,
            task.max_tokens,
            # As methods seed it, so that an evaluation and this share answers.
            stable_seed(settings.seed, query.user, query.id),
            query.whose,
            LEFT_TO_THE_LLM,
        )

    written = [{prompt.name: requests(example, prompt) for prompt in prompts} for example in examples]
    identity = generator_identity(settings)
    keys = {ask_key(identity, one) for own in written for several in own.values() for one in several}
    cache = open_cache(settings)
    known = sum(key in cache for key in keys)
    cache.close()
    return AskPlan(examples, written, len(keys), known)


def ask(settings: Settings, plan: AskPlan, advance: Callable[[], None]) -> tuple[list[AskedQuery], Usage]:
    """Ask what is not known yet, and return all answers and what they took.

    Args:
        settings: Describe the LLM.
        plan: What is asked.
        advance: Called for each prompt of a query that is answered.

    Raises:
        UnfinishedError: The LLM was given up, or not all was answered; what was answered is kept.
    """
    return asyncio.run(_ask(settings, plan, advance))


async def _ask(settings: Settings, plan: AskPlan, advance: Callable[[], None]) -> tuple[list[AskedQuery], Usage]:
    cache = open_cache(settings)
    generator = make_generator(settings, cache)
    places = [(place, name) for place, own in enumerate(plan.requests) for name in own]
    log = FailureLog(settings.generator.max_failure_share, plan.known)

    async def answered(place: tuple[int, str]) -> tuple[list[Sample], Usage]:
        (number, name), samples, usage = place, list[Sample](), Usage()
        # One after the other: an endpoint that keeps prefixes then reads the prompt once.
        for request in plan.requests[number][name]:
            found = await generator(request)
            samples += PromptRequest(name, request).samples(found)
            usage += found.usage
        advance()
        return samples, usage

    try:
        ends = await ask_each(places, answered, log, at_once=_IN_FLIGHT)
    finally:
        await generator.close()
    log.check("What was answered is kept.")
    said: list[dict[str, tuple[Sample, ...]]] = [{} for _ in plan.requests]
    spent = Usage()
    for (number, name), end in zip(places, ends, strict=True):
        # A refusal is how the request ends: it has no answers.
        samples, usage = ([], Usage()) if isinstance(end, Failure) else end
        said[number][name] = tuple(samples)
        spent += usage
    return [AskedQuery(one, own) for one, own in zip(plan.examples, said, strict=True)], spent
