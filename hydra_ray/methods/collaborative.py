"""CFRAG (arXiv 2504.05731): similar users' history beside the user's own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.methods.answering import ask, retrieved
from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.records import Answer, Query, Ranked, UserKey
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.sources import PEERS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collaborative:
    """Shows the user's own and their peers' nearest items as shots; one answer at temperature 0.

    CFRAG trains its user encoder and retriever on the LLM's feedback; here an untrained encoder finds
    users and items. What peers said stands in the prompt only: the answer's history is the user's own,
    so nobody is told whose words were used.

    Args:
        by: Name of the retriever of the user's own items.
    """

    ports: Ports
    prompter: Prompter
    recipe: Recipe
    by: str = "dense"

    async def __call__(self, query: Query, head: UserKey | None) -> Answer:
        degraded: list[str] = []
        own = await retrieved(self.ports, query, self.recipe.shots, self.by, degraded)
        fused = _fused(own, await self._of_peers(query, degraded))[: self.recipe.shots]
        items = [ranked.item for ranked, _ in fused]
        mine = [ranked for ranked, is_own in fused if is_own]
        return await ask(
            self.ports, self.prompter, self.recipe, query, items, history=mine, degraded=degraded, source=PEERS
        )

    async def _of_peers(self, query: Query, degraded: list[str]) -> list[Ranked]:
        try:
            return await self.ports.peers(query, self.recipe.shots)
        except StepError as error:
            log.warning("peers cannot be had, answering with the user's own history", exc_info=error)
            degraded.append("peers")
            return []


def _fused(own: Sequence[Ranked], of_peers: Sequence[Ranked]) -> list[tuple[Ranked, bool]]:
    """Merge two rankings by reciprocal rank fusion; each item comes with whether it is the user's own.

    No item stands in both lists, so the order is by rank, the user's own first.
    """
    ranks = [(rank, ranked, True) for rank, ranked in enumerate(own)]
    ranks += [(rank, ranked, False) for rank, ranked in enumerate(of_peers)]
    return [(ranked, is_own) for _, ranked, is_own in sorted(ranks, key=lambda one: one[0])]
