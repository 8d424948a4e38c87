"""Methods that tell the LLM a profile of the user beside retrieved history: pag, dpl."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.records import Answer, ChatRequest, Query, Ranked, UserKey
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.profile_prompts import fill
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.seeds import stable_seed


@dataclass(frozen=True, slots=True)
class Profiled:
    """A profile in the system's message, BM25's items as shots, one answer at temperature 0.

    Args:
        kind: Who writes the profile.
    """

    ports: Ports
    prompter: Prompter
    recipe: Recipe
    kind: str

    async def __call__(self, query: Query, head: UserKey | None) -> Answer:
        degraded: list[str] = []
        shown: list[Ranked] = []
        try:
            shown = await self.ports.retrieve(query, self.recipe.shots, "bm25")
        except StepError:
            degraded.append("retriever")
        profile = await told_profile(self.ports, self.recipe, query, self.kind, degraded)
        prompt = self.prompter(query, [ranked.item for ranked in shown], profile)
        task = self.prompter.task
        seed = stable_seed(self.recipe.seed, query.user, query.id)
        generation = await self.ports.generate(ChatRequest(prompt.messages, max_tokens=task.max_tokens, seed=seed))
        candidates = distinct_candidates(task, generation.texts)
        return Answer(
            query_id=query.id,
            text=candidates[0].text if candidates else "",
            history=tuple(shown),
            candidates=candidates,
            degraded=tuple(degraded),
            usage=generation.usage,
            truncated=prompt.truncated,
            prompt=prompt.messages,
        )


async def told_profile(ports: Ports, recipe: Recipe, query: Query, kind: str, degraded: list[str]) -> str:
    """The user's profile in the words of the recipe's template; "" where there is none, or no kind is asked for.

    Args:
        ports: Its profile port is asked.
        recipe: Has the template.
        query: Whose user it is of.
        kind: Who writes it; "" asks nobody.
        degraded: Told where the port fails.
    """
    if not kind:
        return ""
    try:
        profile = await ports.profile(query, kind)
    except StepError:
        degraded.append("profile")
        return ""
    return fill(recipe.told, profile=profile) if profile else ""
