"""CFRAG (arXiv 2504.05731): similar users' history beside the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.records import Answer, ChatRequest, Query, Ranked, UserKey
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.seeds import stable_seed


@dataclass(frozen=True, slots=True)
class Collaborative:
    """The user's own and their peers' nearest items as shots, one answer at temperature 0.

    CFRAG trains its user encoder and retriever on the LLM's feedback; here an untrained encoder finds
    users and items. What peers said stands in the prompt only: the answer's history is the user's own,
    so nobody is told whose words were used.

    Args:
        by: The retriever of the user's own items.
    """

    ports: Ports
    prompter: Prompter
    recipe: Recipe
    by: str = "dense"

    async def __call__(self, query: Query, head: UserKey | None) -> Answer:
        degraded: list[str] = []
        own = await self._own(query, degraded)
        fused = _fused(own, await self._of_peers(query, degraded))[: self.recipe.shots]
        prompt = self.prompter(query, [ranked.item for ranked, _ in fused])
        task = self.prompter.task
        seed = stable_seed(self.recipe.seed, query.user, query.id)
        generation = await self.ports.generate(ChatRequest(prompt.messages, max_tokens=task.max_tokens, seed=seed))
        candidates = distinct_candidates(task, generation.texts)
        return Answer(
            query_id=query.id,
            text=candidates[0].text if candidates else "",
            history=tuple(ranked for ranked, is_own in fused if is_own),
            candidates=candidates,
            degraded=tuple(degraded),
            usage=generation.usage,
            truncated=prompt.truncated,
            prompt=prompt.messages,
        )

    async def _own(self, query: Query, degraded: list[str]) -> list[Ranked]:
        try:
            return await self.ports.retrieve(query, self.recipe.shots, self.by)
        except StepError:
            degraded.append("retriever")
            return []

    async def _of_peers(self, query: Query, degraded: list[str]) -> list[Ranked]:
        try:
            return await self.ports.peers(query, self.recipe.shots)
        except StepError:
            degraded.append("peers")
            return []


def _fused(own: Sequence[Ranked], of_peers: Sequence[Ranked]) -> list[tuple[Ranked, bool]]:
    """Reciprocal rank fusion, with whether each is the user's own.

    Nobody's item stands in both lists, so that is by rank, the user's own first.
    """
    ranks = [(rank, ranked, True) for rank, ranked in enumerate(own)]
    ranks += [(rank, ranked, False) for rank, ranked in enumerate(of_peers)]
    return [(ranked, is_own) for _, ranked, is_own in sorted(ranks, key=lambda one: one[0])]
