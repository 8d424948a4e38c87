"""Methods that tell the LLM a profile of the user beside retrieved history: pag, dpl."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_ray.methods.answering import ask, retrieved, told_profile
from hydra_ray.methods.ports import Ports, Recipe
from hydra_ray.records import Answer, Query, UserKey
from hydra_ray.steps.prompt import Prompter


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
        shown = await retrieved(self.ports, query, self.recipe.shots, "bm25", degraded)
        profile = await told_profile(self.ports, self.recipe, query, self.kind, degraded)
        items = [ranked.item for ranked in shown]
        return await ask(
            self.ports,
            self.prompter,
            self.recipe,
            query,
            items,
            history=shown,
            degraded=degraded,
            profile=profile,
        )
