"""Asks the LLM each query by several prompts, once: what was asked before comes from the cache of answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra_ray.evaluate.crossval.recipes import Prompt
from hydra_ray.learn.collect.plan import Example
from hydra_ray.records import LEFT_TO_THE_LLM, Candidate, ChatRequest, Generation, Usage
from hydra_ray.runtime.embedding import make_embedder
from hydra_ray.runtime.factory import make_prompter
from hydra_ray.runtime.generators import generator_identity, make_generator, open_cache
from hydra_ray.settings import Settings
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.candidates import candidate_requests, joined
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
        texts: Answers by prompt, in the order in which they were asked for; none where the LLM refused.
    """

    example: Example
    texts: Mapping[str, tuple[str, ...]]

    def candidates(self, task: Task, mix: Mapping[str, int]) -> tuple[Candidate, ...]:
        """Return the distinct answers of a mix, with their votes.

        Args:
            task: Task that parses answers.
            mix: Number of answers by prompt; the first ones count.
        """
        return distinct_candidates(task, [text for name, count in mix.items() for text in self.texts[name][:count]])

    def said_by(self, task: Task, mix: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Return how many of a mix's answers of each prompt gave a candidate, by its text and prompt."""
        found: dict[str, dict[str, int]] = {}
        for name in mix:
            for candidate in self.candidates(task, {name: mix[name]}):
                found.setdefault(candidate.text, {})[name] = candidate.votes
        return found


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


def plan_asking(settings: Settings, task: Task, examples: Sequence[Example], prompts: Sequence[Prompt]) -> AskPlan:
    """Write the requests, and look how many of them were answered before.

    Args:
        settings: Say how prompts are written, and where answers are kept.
        task: Task of the examples.
        examples: Examples to ask about.
        prompts: Ways to ask each.
    """
    prompter, embed, stemmer = make_prompter(settings, task), make_embedder(settings), settings.method.stemmer

    def requests(example: Example, prompt: Prompt) -> Requests:
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

    async def answered(place: tuple[int, str]) -> Generation:
        number, name = place
        # One after the other: an endpoint that keeps prefixes then reads the prompt once.
        found = joined(tuple([await generator(request) for request in plan.requests[number][name]]))
        advance()
        return found

    try:
        ends = await ask_each(places, answered, log, at_once=_IN_FLIGHT)
    finally:
        await generator.close()
    log.check("What was answered is kept.")
    texts: list[dict[str, tuple[str, ...]]] = [{} for _ in plan.requests]
    usage = Usage()
    for (number, name), end in zip(places, ends, strict=True):
        # A refusal is how the request ends: it has no answers.
        texts[number][name] = () if isinstance(end, Failure) else end.texts
        usage += Usage() if isinstance(end, Failure) else end.usage
    return [AskedQuery(one, own) for one, own in zip(plan.examples, texts, strict=True)], usage
