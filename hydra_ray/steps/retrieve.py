"""Which of a user's history items concern a query: the first cut, before the reranker."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from functools import lru_cache

import bm25s
import numpy as np
import numpy.typing as npt

from hydra_ray.dates import in_order
from hydra_ray.records import HistoryItem, Query, Ranked
from hydra_ray.steps.embed import Embed, default_embedder
from hydra_ray.steps.nearest import NearestIndex
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.tasks.options import search_text

# It tells of every index that it builds, and there is one for every query.
logging.getLogger("bm25s").setLevel(logging.WARNING)

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


def searched_text(item: HistoryItem) -> str:
    """The text by which a history item is found; its answer only where there is nothing else: queries have none."""
    return f"{item.context} {item.input}".strip() or item.output


def lexical(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """Ranks one user's history by BM25 (Robertson and Zaragoza, 2009; scores as bm25s computes them).

    Args:
        query: Its input is the search text.
        history: Oldest first.
        k: Most items returned.

    Returns:
        Best items first; ties keep the newer one; an empty history gives an empty list.
    """
    scores = LexicalIndex([searched_text(item) for item in history]).scores(search_text(query.input))
    newest_first = range(len(history) - 1, -1, -1)
    order = sorted(newest_first, key=lambda i: -scores[i])[:k]
    return [Ranked(history[i], float(scores[i])) for i in order]


def shuffled(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """k random items, the same for the same query: the history that in-context learning shows."""
    drawn = random.Random(stable_seed(query.user, query.id)).sample(range(len(history)), min(k, len(history)))
    return [Ranked(history[i], 0.0) for i in drawn]


def recent(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """The k newest items, newest first."""
    # What was added last, while serving, may have happened earlier.
    by_time = in_order(history, lambda item: item.ts)
    return [Ranked(item, 1 / rank) for rank, item in enumerate(reversed(by_time), 1)][:k]


def dense(query: Query, history: Sequence[HistoryItem], k: int, embed: Embed | None = None) -> list[Ranked]:
    """Ranks one user's history by the cosine of encodings, an exact search with faiss.

    Args:
        query: Its input is the search text.
        history: Oldest first.
        k: Most items returned.
        embed: Gives vectors of unit length; None is the process's embedder.

    Returns:
        Best items first; ties keep the newer one; an empty history gives an empty list.

    Raises:
        HydraError: faiss is not installed.
    """
    if not history:
        return []
    embed = embed or default_embedder()
    index = NearestIndex(embed([searched_text(item) for item in history]), "dense retrieval searches")
    # All of them: faiss tells ties in any order, and would cut among them.
    cosines, rows = index.search(embed([search_text(query.input)])[0], len(history))
    order = sorted(zip(cosines.tolist(), rows.tolist(), strict=True), reverse=True)[:k]
    return [Ranked(history[row], cosine) for cosine, row in order]


def mixed(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """What has the query's words and is new."""
    return _fused((lexical, recent), query, history, k)


def hybrid(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """What has the query's words, means the like and is new."""
    return _fused((lexical, dense, recent), query, history, k)


RETRIEVERS: dict[str, Retriever] = {
    "bm25": lexical,
    "dense": dense,
    "recent": recent,
    "mixed": mixed,
    "hybrid": hybrid,
    "random": shuffled,
}


def _fused(retrievers: Sequence[Retriever], query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """Reciprocal rank fusion (Cormack et al., 2009): score = sum of 1 / (60 + rank); ties keep the newer item."""
    fused = dict.fromkeys((item.id for item in history), 0.0)
    for retriever in retrievers:
        for rank, ranked in enumerate(retriever(query, history, len(history)), 1):
            fused[ranked.item.id] += 1 / (_FUSION + rank)
    newest_first = range(len(history) - 1, -1, -1)
    order = sorted(newest_first, key=lambda i: -fused[history[i].id])[:k]
    return [Ranked(history[i], fused[history[i].id]) for i in order]


# A user's items are ranked again for each of their queries: half of a ranking's time went into their words.
@lru_cache(maxsize=20_000)
def _words(text: str) -> tuple[str, ...]:
    return tuple(bm25s.tokenize([text], stopwords="en", return_ids=False, show_progress=False)[0])
