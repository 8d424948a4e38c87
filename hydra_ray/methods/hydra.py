"""HYDRA (arXiv 2406.02888): retrieve, rerank under the user's head, sample candidates, adapt under the user's head."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hydra_ray.methods.answering import profile_message, retrieved, sampled
from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.records import Answer, Candidate, Choice, Query, Ranked, UserKey
from hydra_ray.steps.adapt import with_allowed
from hydra_ray.steps.prompt import Prompter

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hydra:
    """Runs the whole method, or with one of its two parts only.

    Without the adapter the LLM is asked once, at temperature 0. Any step but the LLM may fail: its
    work is then done without, and the answer says so.

    Args:
        rerank: Whether the reranker orders the history; else the retriever's order stays.
        adapt: Whether the adapter chooses among samples.
    """

    needs_base: ClassVar[bool] = True

    ports: Ports
    prompter: Prompter
    recipe: Recipe
    rerank: bool = True
    adapt: bool = True

    async def __call__(self, query: Query, head: UserKey | None) -> Answer:
        degraded: list[str] = []
        most = max(self.recipe.retrieve, self.recipe.history_answers)
        found = await retrieved(self.ports, query, most, self.recipe.retriever, degraded)
        shown = await self._rerank(query, found[: self.recipe.retrieve], head, degraded)
        profile = await profile_message(self.ports, self.recipe, query, self.recipe.profile, degraded)
        prompt = self.prompter(query, [ranked.item for ranked in shown], profile)
        sampling = await sampled(
            self.ports,
            self.prompter.task,
            self.recipe,
            query,
            prompt.messages,
            several=self.adapt,
            degraded=degraded,
        )
        candidates = sampling.candidates
        # Allowed answers that nobody said are no JSON.
        allowed = 0 if query.wishes.sampling.response_format else self.recipe.allowed_answers
        competing = with_allowed(self.prompter.task, candidates, allowed)
        history_answers = [ranked.item.output for ranked in found[: self.recipe.history_answers]]
        choice = await self._adapt(query, competing, history_answers, head, degraded)
        judged = choice.candidates if choice else sorted(candidates, key=lambda c: -c.votes)
        return Answer(
            query_id=query.id,
            text=judged[0].text if judged else "",
            history=tuple(shown),
            candidates=tuple(judged),
            degraded=tuple(degraded),
            head=_whose(choice, head, query),
            usage=sampling.usage,
            truncated=prompt.truncated,
            prompt=prompt.messages,
            read=tuple(ranked.item.id for ranked in found[: self.recipe.history_answers]) if choice else (),
            ignored=sampling.ignored,
        )

    async def _rerank(
        self, query: Query, ranked: Sequence[Ranked], head: UserKey | None, degraded: list[str]
    ) -> list[Ranked]:
        order = list(ranked)
        if self.rerank and order:
            try:
                order = await self.ports.rerank(query, order, head)
            except StepError as error:
                log.warning("the reranker failed, keeping the retriever's order", exc_info=error)
                degraded.append("reranker")
        return order[: self.recipe.shots]

    async def _adapt(
        self,
        query: Query,
        candidates: Sequence[Candidate],
        history_answers: Sequence[str],
        head: UserKey | None,
        degraded: list[str],
    ) -> Choice | None:
        if self.adapt and candidates:
            try:
                return await self.ports.adapt(query, candidates, history_answers, head)
            except StepError as error:
                log.warning("the adapter failed, answering by votes", exc_info=error)
                degraded.append("adapter")
        return None


def _whose(choice: Choice | None, head: UserKey | None, query: Query) -> str:
    if choice is None:
        return "none"
    if not choice.personal:
        return "shared"
    return "user" if head == query.user else "other"
