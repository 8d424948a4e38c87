"""Puts the history that helps the LLM most with a query first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.models.scorer import Head, Scorer
from hydra_ray.records import Query, Ranked
from hydra_ray.steps.pairs import reranker_pair


@dataclass(frozen=True, slots=True)
class RerankAsk:
    """One query's retrieved history, and the head of whoever it is ranked for."""

    query: Query
    ranked: tuple[Ranked, ...]
    head: Head | None = None


class Reranker:
    """Orders history by the reranker's logit of (query, item with its answer)."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self, asks: Sequence[RerankAsk]) -> list[list[Ranked]]:
        """Most useful items first, for each ask; ties keep the retriever's order."""
        pairs = [reranker_pair(ask.query.input, r.item) for ask in asks for r in ask.ranked]
        heads = [ask.head for ask in asks for _ in ask.ranked]
        logits = iter(self._scorer.score(pairs, heads).tolist() if pairs else ())
        scored = [[Ranked(r.item, next(logits)) for r in ask.ranked] for ask in asks]
        return [sorted(items, key=lambda r: -r.score) for items in scored]
