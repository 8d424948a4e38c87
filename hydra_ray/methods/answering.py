"""What methods without an adapter have in common: one prompt, the LLM's greedy answer or its vote."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.records import Answer, HistoryItem, Query, Ranked
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.candidates import candidate_requests, joined
from hydra_ray.steps.profiles.prompts import fill
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.steps.vote import consensus

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
    """Asks the LLM once, or for as many answers as hydra's, and takes what they agree on.

    Args:
        ports: Its generator is asked.
        prompter: Writes the chat.
        recipe: Candidates and temperature of a vote.
        query: Answered.
        shots: Shown, most useful first.
        history: What of the shots the answer may tell of.
        degraded: What was done without.
        profile: As of the prompter.
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
    )
    generation = joined(tuple(await asyncio.gather(*map(ports.generate, requests))))
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


async def retrieved(ports: Ports, query: Query, k: int, by: str, degraded: list[str]) -> list[Ranked]:
    """The user's history as a retriever ranks it; none where the port fails, which `degraded` is told."""
    try:
        return await ports.retrieve(query, k, by)
    except StepError as error:
        log.warning("the retriever failed, answering without history", exc_info=error)
        degraded.append("retriever")
        return []


async def profile_message(ports: Ports, recipe: Recipe, query: Query, kind: str, degraded: list[str]) -> str:
    """The user's profile in the words of the recipe's template; "" where there is none, or no kind is asked for.

    Args:
        ports: Its profile port is asked.
        recipe: Has the template.
        query: Whose user it is of.
        kind: Who writes it; "" asks nobody.
        degraded: Told where the port fails, and where the profile could not tell what sets the user apart.
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
