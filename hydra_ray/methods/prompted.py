"""Methods that put history in the prompt and take the LLM's one greedy answer: zero-shot, icl, rag."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.records import Answer, ChatRequest, Query, Ranked, UserKey
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.seeds import stable_seed


@dataclass(frozen=True, slots=True)
class Prompted:
    """Retrieved history as shots, one answer at temperature 0.

    Args:
        by: The retriever; None shows no history.
    """

    ports: Ports
    prompter: Prompter
    recipe: Recipe
    by: str | None

    async def __call__(self, query: Query, head: UserKey | None) -> Answer:
        shown: list[Ranked] = []
        degraded: tuple[str, ...] = ()
        if self.by is not None:
            try:
                shown = await self.ports.retrieve(query, self.recipe.shots, self.by)
            except StepError:
                degraded = ("retriever",)
        prompt = self.prompter(query, [ranked.item for ranked in shown])
        task = self.prompter.task
        seed = stable_seed(self.recipe.seed, query.user, query.id)
        generation = await self.ports.generate(ChatRequest(prompt.messages, max_tokens=task.max_tokens, seed=seed))
        candidates = distinct_candidates(task, generation.texts)
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
