"""Steps that methods share: retrieval, the profile's message, and one prompt with a greedy answer or a vote."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.records import Answer, ChatRequest, Generation, HistoryItem, Query, Ranked
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.candidates import candidate_requests, joined
from hydra_ray.steps.profiles.prompts import fill
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.steps.vote import consensus
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)


async def ask(
    ports: Ports,
    prompter: Prompter,
    recipe: Recipe,
    query: Query,
    shots: Sequence[HistoryItem],
    *,
    history: Sequence[Ranked],
    degraded: Sequence[str],
    profile: str = "",
    vote: bool = False,
) -> Answer:
    """Ask the LLM once, or for as many answers as hydra does, and take what they agree on.

    Args:
        ports: Ports of the method; the generator is asked.
        prompter: Prompter that writes the chat.
        recipe: Recipe with the seed, and with candidates and temperature of a vote.
        query: Query to answer.
        shots: History items that are shown, most useful first.
        history: Those of the shots that the answer may name.
        degraded: Names of what was done without.
        profile: Message about the user, which the prompter takes; "" leaves it out.
        vote: Whether the LLM is sampled, so that a method that chooses is compared at equal LLM calls.
    """
    prompt, task = prompter(query, shots, profile), prompter.task
    requests = candidate_requests(
        prompt.messages,
        recipe.candidates if vote else 1,
        recipe.temperature,
        recipe.greedy or not vote,
        task.max_tokens,
        stable_seed(recipe.seed, query.user, query.id),
        query.whose,
    )
    generation = await sampled(ports, task, requests)
    candidates = consensus(task, distinct_candidates(task, generation.texts))
    return Answer(
        query_id=query.id,
        text=candidates[0].text if candidates else "",
        history=tuple(history),
        candidates=candidates,
        degraded=tuple(degraded),
        usage=generation.usage,
        truncated=prompt.truncated,
        prompt=prompt.messages,
    )


async def sampled(ports: Ports, task: Task, requests: Sequence[ChatRequest]) -> Generation:
    """Ask the LLM for all of a query's samples; for one alone, which is the answer word for word, by `Ports.say`.

    Args:
        ports: Ports of the method; the generator is asked.
        task: Task that says whether answers are what the LLM says, word for word.
        requests: Requests that together bring the samples.
    """
    if ports.say is not None and task.free and sum(request.n for request in requests) == 1:
        return await ports.say(requests[0])
    return joined(tuple(await asyncio.gather(*map(ports.generate, requests))))


async def retrieved(ports: Ports, query: Query, k: int, by: str, degraded: list[str]) -> list[Ranked]:
    """Return the user's history as a retriever ranks it; none where the port fails, which `degraded` then says."""
    try:
        return await ports.retrieve(query, k, by)
    except StepError as error:
        log.warning("the retriever failed, answering without history", exc_info=error)
        degraded.append("retriever")
        return []


async def profile_message(ports: Ports, recipe: Recipe, query: Query, kind: str, degraded: list[str]) -> str:
    """Return the user's profile in the words of the recipe's template; "" where there is none.

    Args:
        ports: Ports of the method; the profile port is asked.
        recipe: Recipe with the template.
        query: Query whose user the profile is of.
        kind: Kind of profile; "" asks for none.
        degraded: Gets an entry where the port fails, and where the profile could not tell what sets the user apart.
    """
    if not kind:
        return ""
    try:
        profile = await ports.profile(query, kind)
    except StepError as error:
        log.warning("the profile of kind %s cannot be had, answering without", kind, exc_info=error)
        degraded.append("profile")
        return ""
    if profile.degraded:
        degraded.append("differences")
    return fill(recipe.profile_template, profile=profile.text) if profile.text else ""
