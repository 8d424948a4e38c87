"""Steps that methods share: retrieval, the profile's message, and one prompt with a greedy answer or a vote."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.methods.sampling import sampled
from hydra_ray.records import Answer, HistoryItem, Query, Ranked
from hydra_ray.steps.profiles.prompts import fill
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.sources import PromptShare
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
    source: str,
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
        source: Name that the prompt has among the sources of the answer's candidates.
        profile: Message about the user, which the prompter takes; "" leaves it out.
        vote: Whether the LLM is sampled, so that a method that chooses is compared at equal LLM calls.
    """
    prompt, without = prompter(query, shots, profile), list(degraded)
    share = PromptShare(source, recipe.candidates, recipe.greedy) if vote else PromptShare(source, 1, greedy=True)
    chats = {source: prompt.messages}
    found = await sampled(ports, prompter.task, recipe, query, chats, (share,), several=vote, degraded=without)
    candidates = consensus(prompter.task, found.candidates)
    return Answer(
        query_id=query.id,
        text=candidates[0].text if candidates else "",
        history=tuple(history),
        candidates=candidates,
        degraded=tuple(without),
        usage=found.usage,
        truncated=prompt.truncated,
        prompt=prompt.messages,
        ignored=found.ignored,
    )


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
