"""Puts the history that helps the LLM most with a query first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hydra_ray.records import Query, Ranked
from hydra_ray.steps.adapt import prior_weight
from hydra_ray.steps.texts import reranker_texts

if TYPE_CHECKING:
    # Those who only compose methods need no torch.
    from hydra_ray.models.heads import Head
    from hydra_ray.models.scorer import Scorer


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query's retrieved history, and the head of whoever it is ranked for."""

    query: Query
    ranked: tuple[Ranked, ...]
    head: Head | None = None


class Reranker:
    """Orders history by score = logit - rank_weight * log(the retriever's rank, from 1).

    The retriever's order is a prior that the logits are added to: a reranker that has little to say
    leaves it as it is. A head that was fitted with a weight of its own scores with that one.

    Args:
        scorer: Scorer of the reranker.
        rank_weight: Weight of the retriever's order. 0 leaves it out, as HYDRA does; None takes what the base learnt.
    """

    def __init__(self, scorer: Scorer, rank_weight: float | None) -> None:
        self._scorer = scorer
        self._rank_weight = rank_weight

    def __call__(self, asks: Sequence[RerankRequest]) -> list[list[Ranked]]:
        """Most useful items first, for each ask; ties keep the retriever's order."""
        decisions = [reranker_texts(ask.query.input, r.item) for ask in asks for r in ask.ranked]
        heads = [ask.head for ask in asks for _ in ask.ranked]
        logits = iter(self._scorer.score(decisions, heads).tolist() if decisions else ())
        return [self._order(ask, [next(logits) for _ in ask.ranked]) for ask in asks]

    def _order(self, ask: RerankRequest, logits: Sequence[float]) -> list[Ranked]:
        weight = prior_weight(self._scorer, ask.head, self._rank_weight)
        scored = [
            replace(r, score=logit - weight * math.log(rank))
            for rank, (r, logit) in enumerate(zip(ask.ranked, logits, strict=True), 1)
        ]
        return sorted(scored, key=lambda r: -r.score)
