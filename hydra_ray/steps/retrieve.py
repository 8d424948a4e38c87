"""Which of a user's history items concern a query: the first cut, before the reranker."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache

import bm25s
import numpy as np
import numpy.typing as npt

from hydra_ray.records import HistoryItem, Query, Ranked
from hydra_ray.steps.seeds import stable_seed

# The constant of reciprocal rank fusion, as its authors have it.
_FUSION = 60

Retriever = Callable[[Query, Sequence[HistoryItem], int], list[Ranked]]


class LexicalIndex:
    """BM25 scores of any number of queries over the same texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        documents = [_words(text) for text in texts]
        self._size = len(documents)
        self._index = bm25s.BM25() if any(documents) else None
        if self._index is not None:
            self._index.index([list(words) for words in documents], show_progress=False)

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """How well each text fits the query, shape (texts,); zeros where nothing can be compared."""
        words = list(_words(query)) if self._index is not None else []
        if not words or self._index is None:
            return np.zeros(self._size, dtype=np.float32)
        scores: npt.NDArray[np.float32] = self._index.get_scores(words)
        return scores


def lexical(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """Ranks one user's history by BM25 (Robertson and Zaragoza, 2009; scores as bm25s computes them).

    Args:
        query: Its input is the search text.
        history: Oldest first.
        k: Most items returned.

    Returns:
        Best items first; ties keep the newer one; an empty history gives an empty list.
    """
    scores = LexicalIndex([f"{item.context} {item.input}" for item in history]).scores(query.input)
    newest_first = range(len(history) - 1, -1, -1)
    order = sorted(newest_first, key=lambda i: -scores[i])[:k]
    return [Ranked(history[i], float(scores[i])) for i in order]


def shuffled(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """k random items, the same for the same query: the history that in-context learning shows."""
    drawn = random.Random(stable_seed(query.user, query.id)).sample(range(len(history)), min(k, len(history)))
    return [Ranked(history[i], 0.0) for i in drawn]


def recent(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """The k newest items, newest first."""
    return [Ranked(item, 1 / rank) for rank, item in enumerate(reversed(history), 1)][:k]


def mixed(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """BM25 and recency by reciprocal rank fusion (Cormack et al., 2009): score = sum of 1 / (60 + rank)."""
    fused: dict[str, float] = {}
    for retriever in (lexical, recent):
        for rank, ranked in enumerate(retriever(query, history, len(history)), 1):
            fused[ranked.item.id] = fused.get(ranked.item.id, 0.0) + 1 / (_FUSION + rank)
    newest_first = range(len(history) - 1, -1, -1)
    order = sorted(newest_first, key=lambda i: -fused[history[i].id])[:k]
    return [Ranked(history[i], fused[history[i].id]) for i in order]


RETRIEVERS: dict[str, Retriever] = {"bm25": lexical, "recent": recent, "mixed": mixed, "random": shuffled}


# A user's items are ranked again for each of their queries: half of a ranking's time went into their words.
@lru_cache(maxsize=20_000)
def _words(text: str) -> tuple[str, ...]:
    return tuple(bm25s.tokenize([text], stopwords="en", return_ids=False, show_progress=False)[0])
