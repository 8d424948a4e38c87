"""Methods that put history in the prompt and take the LLM's greedy answer or its vote: zero-shot, icl, rag."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.records import Answer, Query, Ranked, UserKey
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.candidates import candidate_requests, joined
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.steps.vote import consensus


@dataclass(frozen=True, slots=True)
class Prompted:
    """Retrieved history as shots, one answer at temperature 0 or what as many samples as hydra's agree on.

    Args:
        by: The retriever; None shows no history.
        vote: Whether the LLM is sampled, so that a method that chooses is compared at equal LLM calls.
    """

    ports: Ports
    prompter: Prompter
    recipe: Recipe
    by: str | None
    vote: bool = False

    async def __call__(self, query: Query, head: UserKey | None) -> Answer:
        shown: list[Ranked] = []
        degraded: tuple[str, ...] = ()
        if self.by is not None:
            try:
                shown = await self.ports.retrieve(query, self.recipe.shots, self.by)
            except StepError:
                degraded = ("retriever",)
        prompt = self.prompter(query, [ranked.item for ranked in shown])
        task, recipe = self.prompter.task, self.recipe
        requests = candidate_requests(
            prompt.messages,
            recipe.candidates if self.vote else 1,
            recipe.temperature,
            recipe.greedy or not self.vote,
            task.max_tokens,
            stable_seed(recipe.seed, query.user, query.id),
        )
        generation = joined(tuple(await asyncio.gather(*map(self.ports.generate, requests))))
        candidates = consensus(task, distinct_candidates(task, generation.texts))
        return Answer(
            query_id=query.id,
            text=candidates[0].text if candidates else "",
            history=tuple(shown),
            candidates=candidates,
            degraded=degraded,
            usage=generation.usage,
            truncated=prompt.truncated,
            prompt=prompt.messages,
        )
