"""Samples of the LLM's answers: to one prompt or to several at once, as the query wishes, joined into candidates."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from hydra_ray.methods.ports import Ports, Recipe
from hydra_ray.records import Candidate, ChatRequest, Generation, Message, Query, Usage
from hydra_ray.steps.adapt import distinct_candidates, json_candidates
from hydra_ray.steps.candidates import PromptRequest, Sample, joined, mixed_requests
from hydra_ray.steps.formats import is_valid
from hydra_ray.steps.generate import FilteredError, GenerateError
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.steps.sources import PromptShare
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sampled:
    """The LLM's answers to a query's prompts.

    Attributes:
        candidates: Distinct answers with their votes and sources.
        usage: Calls and tokens that all of them took.
        ignored: What of the query's wishes the LLM was not told, or does not know.
    """

    candidates: tuple[Candidate, ...]
    usage: Usage
    ignored: tuple[str, ...]


async def sampled(
    ports: Ports,
    task: Task,
    recipe: Recipe,
    query: Query,
    chats: Mapping[str, tuple[Message, ...]],
    mix: Sequence[PromptShare],
    *,
    several: bool,
    degraded: list[str],
) -> Sampled:
    """Ask the LLM all prompts of a mix at once, as the query wishes.

    Args:
        ports: Ports of the method; the generator is asked.
        task: Task of the query.
        recipe: Recipe with the seed and the temperature.
        query: Query to answer; what it wishes goes before what recipe, mix and task say.
        chats: Chats by the name of their prompt; each of the mix is there.
        mix: Prompts, and how many answers of each are wanted.
        several: Whether candidates are wanted, to vote or to choose among; else the one answer is.
        degraded: Gets an entry for each prompt that was not answered while others were, and where no answer has the
            form that was asked for.
    """
    requests = _requests(task, recipe, query, chats, mix, several)
    found, samples = await _asked(ports, task, requests, degraded, said=query.wishes.n == 1)
    wanted = query.wishes.sampling.response_format
    if not wanted:
        return Sampled(distinct_candidates(task, samples), found.usage, found.ignored)
    # A label read out of it would be no JSON any more.
    valid = [one for one in samples if is_valid(one.text, wanted)]
    if not valid:
        log.warning("none of %d answers has the form that was asked for", len(samples))
        degraded.append("response_format")
    return Sampled(json_candidates(valid or samples), found.usage, found.ignored)


def _requests(
    task: Task,
    recipe: Recipe,
    query: Query,
    chats: Mapping[str, tuple[Message, ...]],
    mix: Sequence[PromptShare],
    several: bool,
) -> tuple[PromptRequest, ...]:
    wishes, first = query.wishes, mix[0]
    # Answers that a client wants beyond those of the mix come from its first prompt.
    more = max(0, wishes.n - sum(share.samples for share in mix))
    # The client's temperature is that of the one answer, too.
    greedy = first.greedy and (several or wishes.temperature is None)
    mix = (PromptShare(first.prompt, first.samples + more, greedy), *mix[1:])
    if wishes.temperature == 0:
        # All answers of a prompt would be the same, and the client counts on one.
        mix = (PromptShare(first.prompt, 1, greedy=False),)
    return mixed_requests(
        chats,
        mix,
        recipe.temperature if wishes.temperature is None else wishes.temperature,
        wishes.max_tokens or task.max_tokens,
        stable_seed(recipe.seed, query.user, query.id, *(() if wishes.seed is None else (wishes.seed,))),
        query.whose,
        wishes.sampling,
    )


async def _asked(
    ports: Ports, task: Task, asked: Sequence[PromptRequest], degraded: list[str], *, said: bool
) -> tuple[Generation, list[Sample]]:
    """Ask the LLM for all of a query's samples; for one alone, which is the answer word for word, by `Ports.say`.

    Args:
        ports: Ports of the method; the generator is asked.
        task: Task that says whether answers are what the LLM says, word for word.
        asked: Requests that together bring the samples. Equal ones are asked once, and answer each prompt.
        degraded: Gets an entry for each prompt that was not answered while others were.
        said: Whether one answer is all that the client wants.
    """
    if said and ports.say is not None and task.free and sum(one.request.n for one in asked) == 1:
        said_one = await ports.say(asked[0].request)
        return said_one, asked[0].samples(said_one)
    can_fail = len({one.prompt for one in asked}) > 1
    prompts: dict[ChatRequest, str] = {}
    for one in asked:
        prompts.setdefault(one.request, one.prompt)
    # Those of one prompt go together: what becomes of them is no other prompt's matter.
    together: dict[str, list[ChatRequest]] = defaultdict(list)
    for request, prompt in prompts.items():
        together[prompt].append(request)
    found = await asyncio.gather(*(_ended(ports, requests, can_fail=can_fail) for requests in together.values()))
    ends: dict[ChatRequest, Generation | GenerateError] = {}
    for requests, of_prompt in zip(together.values(), found, strict=True):
        ends.update(zip(requests, of_prompt, strict=True))
    answered = [(one, end) for one in asked if isinstance(end := ends[one.request], Generation)]
    samples = [sample for one, end in answered for sample in one.samples(end)]
    failures = {one.prompt: end for one in asked if _has_failed(end := ends[one.request])}
    if failures and not samples:
        raise next(iter(failures.values()))
    for prompt, error in failures.items():
        log.warning("prompt %s was not answered, going on with the others", prompt, exc_info=error)
        degraded.append(f"prompt:{prompt}")
    return _unfiltered(list(ends.values())), samples


async def _ended(
    ports: Ports, requests: Sequence[ChatRequest], *, can_fail: bool
) -> Sequence[Generation | GenerateError]:
    """Return how the requests of one prompt ended.

    Raises:
        GenerateError: There is no answer, and none can be done without, or a later one is to be waited for.
    """
    ends = await _all_ends(ports, requests)
    for end in ends:
        if _has_failed(end) and not (can_fail and (end.final or not ports.asks_again)):
            raise end
    return ends


async def _all_ends(ports: Ports, requests: Sequence[ChatRequest]) -> Sequence[Generation | GenerateError]:
    if ports.generate_all is None or len(requests) == 1:
        return await asyncio.gather(*(_end(ports, request) for request in requests))
    try:
        return await ports.generate_all(requests)
    except GenerateError as error:
        return [error] * len(requests)


async def _end(ports: Ports, request: ChatRequest) -> Generation | GenerateError:
    try:
        return await ports.generate(request)
    except GenerateError as error:
        return error


def _has_failed(end: Generation | GenerateError) -> TypeGuard[GenerateError]:
    return isinstance(end, GenerateError) and not isinstance(end, FilteredError)


def _unfiltered(ends: Sequence[Generation | GenerateError]) -> Generation:
    """Return all answers that a filter left; what it took is no candidate, and was paid for.

    Raises:
        FilteredError: There is none, with what all of them took.
    """
    filtered = [end for end in ends if isinstance(end, FilteredError)]
    spent = sum((error.usage for error in filtered), Usage())
    found = joined(tuple(end for end in ends if isinstance(end, Generation))) + Generation((), spent)
    if filtered and not found.texts:
        raise FilteredError(str(filtered[0]), found.usage, next((one.refusal for one in filtered if one.refusal), ""))
    for error in filtered:
        log.warning("an answer is no candidate: %s", error)
    return found
