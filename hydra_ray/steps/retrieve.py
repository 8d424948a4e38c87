"""Which of a user's history items concern a query: the first cut, before the reranker."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import bm25s
import numpy as np

from hydra_ray.records import HistoryItem, Query, Ranked
from hydra_ray.steps.seeds import stable_seed

Retriever = Callable[[Query, Sequence[HistoryItem], int], list[Ranked]]


def lexical(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """Ranks one user's history by BM25 (Robertson and Zaragoza, 2009; scores as bm25s computes them).

    Args:
        query: Its input is the search text.
        history: Oldest first.
        k: Most items returned.

    Returns:
        Best items first; ties keep the newer one; an empty history gives an empty list.
    """
    documents = _tokens([f"{item.context} {item.input}" for item in history])
    words = _tokens([query.input])[0] if history else []
    scores = np.zeros(len(history), dtype=np.float32)
    if words and any(documents):
        index = bm25s.BM25()
        index.index(documents, show_progress=False)
        scores = index.get_scores(words)
    newest_first = range(len(history) - 1, -1, -1)
    order = sorted(newest_first, key=lambda i: -scores[i])[:k]
    return [Ranked(history[i], float(scores[i])) for i in order]


def shuffled(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """k random items, the same for the same query: the history that in-context learning shows."""
    drawn = random.Random(stable_seed(query.user, query.id)).sample(range(len(history)), min(k, len(history)))
    return [Ranked(history[i], 0.0) for i in drawn]


RETRIEVERS: dict[str, Retriever] = {"bm25": lexical, "random": shuffled}


def _tokens(texts: list[str]) -> list[list[str]]:
    tokens: list[list[str]] = bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)
    return tokens
