"""HYDRA (arXiv 2406.02888): retrieve, rerank under the user's head, sample candidates, adapt under the user's head."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

from hydra_ray.methods.answering import profile_message, retrieved
from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.methods.sampling import sampled
from hydra_ray.records import Answer, Candidate, Choice, Query, Ranked, UserKey
from hydra_ray.steps.adapt import with_allowed
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.sources import PROFILE, RERANKED, PromptShare, retriever_of, retrievers_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hydra:
    """Runs the whole method, or with one of its two parts only.

    Without the adapter the LLM is asked once, at temperature 0. With it candidates may come from several prompts
    (`Recipe.mix_of`), which are asked at once. Any step but the LLM may fail, and so may some of several prompts: their
    work is then done without, and the answer says so.

    Args:
        rerank: Whether the reranker orders the history where the recipe has one; else the retriever's order stays.
        adapt: Whether the adapter chooses among samples.
        gated: Whether a plain answer is given where the base's gate does not let the adapter's choice through.
    """

    needs_base: ClassVar[bool] = True

    ports: Ports
    prompter: Prompter
    recipe: Recipe
    rerank: bool = True
    adapt: bool = True
    gated: bool = True

    async def __call__(self, query: Query, head: UserKey | None) -> Answer:
        async with self.ports.before_adapt(query) if self._encodes_ahead else nullcontext():
            return await self._answer(query, head)

    async def _answer(self, query: Query, head: UserKey | None) -> Answer:
        degraded: list[str] = []
        mix = self._mix
        retrieved_by = await self._retrieved(query, mix, degraded)
        found = retrieved_by[self.recipe.retriever]
        shown = await self._shown(query, mix, retrieved_by, head, degraded)
        with_profile = {PROFILE} if mix else set(shown)
        kind = self.recipe.profile if with_profile & set(shown) else ""
        profile = await profile_message(self.ports, self.recipe, query, kind, degraded)
        prompts = {
            name: self.prompter(query, [ranked.item for ranked in items], profile if name in with_profile else "")
            for name, items in shown.items()
        }
        sampling = await sampled(
            self.ports,
            self.prompter.task,
            self.recipe,
            query,
            {name: prompt.messages for name, prompt in prompts.items()},
            mix or self._one_prompt,
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
        # An answer that keeps to a client's form is no label, and training has seen none.
        decision = choice.gate if choice and self.gated and not query.wishes.sampling.response_format else None
        if decision is not None:
            judged = sorted(judged, key=lambda c: c.text != decision.text)
        return Answer(
            query_id=query.id,
            text=judged[0].text if judged else "",
            history=tuple({ranked.item.id: ranked for items in shown.values() for ranked in items}.values()),
            candidates=tuple(judged),
            degraded=tuple(dict.fromkeys(degraded)),
            head=_whose(choice, head, query),
            usage=sampling.usage,
            truncated=sum(prompt.truncated for prompt in prompts.values()),
            prompt=next(iter(prompts.values())).messages,
            read=tuple(ranked.item.id for ranked in found[: self.recipe.history_answers]) if choice else (),
            ignored=sampling.ignored,
            gate=decision,
        )

    @property
    def _mix(self) -> tuple[PromptShare, ...]:
        return self.recipe.mix_of(self.prompter.task) if self.adapt else ()

    @property
    def _reranks(self) -> bool:
        # Without an adapter the reranker is all there is.
        return self.rerank and (self.recipe.rerank or not self.adapt)

    @property
    def _encodes_ahead(self) -> bool:
        """Whether the adapter is the first to read the query: a reranker hands its encoding over."""
        mix = self._mix
        return self.adapt and not (self._reranks and (not mix or any(share.prompt == RERANKED for share in mix)))

    @property
    def _one_prompt(self) -> tuple[PromptShare]:
        """The prompt of a method without a mix, and how many answers are wanted of it."""
        name = PROFILE if self.recipe.profile else RERANKED if self._reranks else self.recipe.retriever
        if self.adapt:
            return (PromptShare(name, self.recipe.candidates, self.recipe.greedy),)
        return (PromptShare(name, 1, greedy=True),)

    async def _retrieved(
        self, query: Query, mix: Sequence[PromptShare], degraded: list[str]
    ) -> dict[str, list[Ranked]]:
        """Return the user's history as each retriever of the mix ranks it, and as the recipe's own one does."""
        recipe = self.recipe
        many = {recipe.retriever: max(recipe.retrieve, recipe.history_answers)}
        names = retrievers_of(mix, recipe.retriever)
        asked = (retrieved(self.ports, query, many.get(by, recipe.shots), by, degraded) for by in names)
        return dict(zip(names, await asyncio.gather(*asked), strict=True))

    async def _shown(
        self,
        query: Query,
        mix: Sequence[PromptShare],
        found: Mapping[str, Sequence[Ranked]],
        head: UserKey | None,
        degraded: list[str],
    ) -> dict[str, list[Ranked]]:
        """Return the items that each prompt shows, by the prompt's name."""
        shown: dict[str, list[Ranked]] = {}
        for name in (share.prompt for share in mix or self._one_prompt):
            if name == RERANKED or not mix:
                nearest = found[self.recipe.retriever][: self.recipe.retrieve]
                shown[name] = await self._rerank(query, nearest, head, degraded)
            else:
                by = retriever_of(name, self.recipe.retriever)
                shown[name] = list(found[by][: self.recipe.shots]) if by else []
        return shown

    async def _rerank(
        self, query: Query, ranked: Sequence[Ranked], head: UserKey | None, degraded: list[str]
    ) -> list[Ranked]:
        order = list(ranked)
        if self._reranks and order:
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
