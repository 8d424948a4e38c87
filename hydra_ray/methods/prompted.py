"""Methods that only prompt: zero-shot, icl, rag, pag, dpl."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_ray.methods.answering import ask, profile_message, retrieved
from hydra_ray.methods.ports import Ports, Recipe
from hydra_ray.records import Answer, Query, Ranked, UserKey
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.sources import PROFILE, ZERO_SHOT


@dataclass(frozen=True, slots=True)
class Prompted:
    """Shows retrieved history as shots; one answer at temperature 0, or what as many samples as hydra's agree on.

    Args:
        by: Name of the retriever; None shows no history.
        vote: Whether the LLM is sampled, so that a method that chooses is compared at equal LLM calls.
        profile: Kind of the profile in the system's message; "" leaves it out.
    """

    ports: Ports
    prompter: Prompter
    recipe: Recipe
    by: str | None
    vote: bool = False
    profile: str = ""

    async def __call__(self, query: Query, head: UserKey | None) -> Answer:
        degraded: list[str] = []
        shown: list[Ranked] = []
        if self.by is not None:
            shown = await retrieved(self.ports, query, self.recipe.shots, self.by, degraded)
        return await ask(
            self.ports,
            self.prompter,
            self.recipe,
            query,
            [ranked.item for ranked in shown],
            history=shown,
            degraded=degraded,
            source=PROFILE if self.profile else self.by or ZERO_SHOT,
            profile=await profile_message(self.ports, self.recipe, query, self.profile, degraded),
            vote=self.vote,
        )
