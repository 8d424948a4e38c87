"""Finds the history items of a user that concern a query: the first cut, before the reranker."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt

from hydra_ray.bounded import words_remembered
from hydra_ray.dates import in_order
from hydra_ray.records import HistoryItem, Query, Ranked
from hydra_ray.steps.retrieval.bm25 import Bm25
from hydra_ray.steps.retrieval.embed import Embed
from hydra_ray.steps.retrieval.nearest import NearestIndex
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.tasks.options import search_text
from hydra_ray.text.search import search_words

# The constant of reciprocal rank fusion, as its authors have it.
_FUSION = 60

Retriever = Callable[[Query, Sequence[HistoryItem], int], list[Ranked]]


class LexicalIndex:
    """BM25 scores of any number of queries over the same texts.

    Args:
        texts: The documents, in any language; each is split into words once.
        stemmer: Language whose endings are cut off words (`search_words`); None cuts none.
    """

    def __init__(self, texts: Iterable[str], stemmer: str | None) -> None:
        self.stemmer = stemmer
        self._index = Bm25(_words(text, stemmer) for text in texts)

    @property
    def nbytes(self) -> int:
        """Memory of the index, about."""
        return self._index.nbytes

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """Return how well each text fits the query, shape (texts,), float32; zeros where nothing can be compared."""
        return self._index.scores(_words(query, self.stemmer))

    def changed(self, left: npt.NDArray[np.bool_] | None, added: Iterable[str]) -> LexicalIndex:
        """Return the index without some of its texts and with others behind them; it costs as much as these do.

        Args:
            left: True for each text that stays, shape (texts,); None keeps all.
            added: Texts to add at the end.
        """
        now = LexicalIndex((), self.stemmer)
        now._index = self._index.changed(left, [_words(text, self.stemmer) for text in added])
        return now


class IndexedHistory(tuple[HistoryItem, ...]):
    """A history with its index, for users who ask again and again; to a retriever it is a history like any other.

    Attributes:
        lexical_index: BM25 index over the items' searched texts, in the order of the items.
    """

    lexical_index: LexicalIndex

    def __new__(cls, items: Iterable[HistoryItem], index: LexicalIndex) -> IndexedHistory:
        """Puts both together."""
        history = super().__new__(cls, items)
        history.lexical_index = index
        return history


def searched_text(item: HistoryItem) -> str:
    """The text by which a history item is found; its answer only where there is nothing else: queries have none."""
    return f"{item.context} {item.input}".strip() or item.output


def lexical(query: Query, history: Sequence[HistoryItem], k: int, stemmer: str | None) -> list[Ranked]:
    """Ranks one user's history by BM25 (Robertson and Zaragoza, 2009; scores as bm25s computes them).

    Args:
        query: The query, whose input is the search text.
        history: The user's history, oldest first.
        k: Most items returned.
        stemmer: Language whose endings are cut off words (`search_words`); None cuts none.

    Returns:
        Best items first; ties keep the newer one; an empty history gives an empty list. Where too few items share
        a word with the query the newest others fill up, and say so.
    """
    scores = _index_of(history, stemmer).scores(search_text(query.input))
    order = len(history) - 1 - np.argsort(-scores[::-1], kind="stable")[:k]
    return [Ranked(history[i], float(scores[i]), fill=bool(scores[i] <= 0)) for i in order]


def shuffled(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """k random items, the same for the same query: the history that in-context learning shows."""
    drawn = random.Random(stable_seed(query.user, query.id)).sample(range(len(history)), min(k, len(history)))
    return [Ranked(history[i], 0.0) for i in drawn]


def recent(query: Query, history: Sequence[HistoryItem], k: int) -> list[Ranked]:
    """The k newest items, newest first."""
    # What was added last, while serving, may have happened earlier.
    by_time = in_order(history, lambda item: item.ts)
    return [Ranked(item, 1 / rank) for rank, item in enumerate(reversed(by_time), 1)][:k]


def dense(query: Query, history: Sequence[HistoryItem], k: int, embed: Embed) -> list[Ranked]:
    """Ranks one user's history by the cosine of encodings, an exact search with faiss.

    Args:
        query: The query, whose input is the search text.
        history: The user's history, oldest first.
        k: Most items returned.
        embed: Gives vectors of length 1.

    Returns:
        Best items first; ties keep the newer one; an empty history gives an empty list.

    Raises:
        HydraError: faiss is not installed.
    """
    if not history:
        return []
    index = NearestIndex(embed([searched_text(item) for item in history]), "dense retrieval searches")
    # All of them: faiss tells ties in any order, and would cut among them.
    cosines, rows = index.search(embed([search_text(query.input)])[0], len(history))
    order = sorted(zip(cosines.tolist(), rows.tolist(), strict=True), reverse=True)[:k]
    return [Ranked(history[row], cosine) for cosine, row in order]


def mixed(query: Query, history: Sequence[HistoryItem], k: int, stemmer: str | None) -> list[Ranked]:
    """Ranks by the query's words and by age, fused; new items without any of the words are fills."""
    return _fused((partial(lexical, stemmer=stemmer), recent), query, history, k, fills=True)


def hybrid(query: Query, history: Sequence[HistoryItem], k: int, embed: Embed, stemmer: str | None) -> list[Ranked]:
    """Ranks by the query's words, by its meaning and by age, fused."""
    retrievers = partial(lexical, stemmer=stemmer), partial(dense, embed=embed), recent
    return _fused(retrievers, query, history, k, fills=False)


RETRIEVERS: dict[str, Callable[..., list[Ranked]]] = {
    "bm25": lexical,
    "dense": dense,
    "recent": recent,
    "mixed": mixed,
    "hybrid": hybrid,
    "random": shuffled,
}


def takes(by: str, option: str) -> bool:
    """Return whether a retriever has a parameter beside query, history and k.

    Args:
        by: One of `RETRIEVERS`.
        option: `embed`, for those that compare encodings, or `stemmer`, for those that compare words.
    """
    return option in signature(RETRIEVERS[by]).parameters


def retriever(by: str, embed: Embed | None, stemmer: str | None) -> Retriever:
    """Return the retriever of a name.

    Args:
        by: One of `RETRIEVERS`.
        embed: Gives vectors of length 1; None where only retrievers are used that compare none.
        stemmer: Language whose endings are cut off words (`search_words`); None cuts none.
    """
    options: dict[str, Any] = {}
    if takes(by, "embed"):
        assert embed is not None, f"{by} retrieval was given nothing that embeds"
        options["embed"] = embed
    if takes(by, "stemmer"):
        options["stemmer"] = stemmer
    return partial(RETRIEVERS[by], **options)


def _fused(
    retrievers: Sequence[Retriever], query: Query, history: Sequence[HistoryItem], k: int, *, fills: bool
) -> list[Ranked]:
    """Reciprocal rank fusion (Cormack et al., 2009): score = sum of 1 / (60 + rank); ties keep the newer item.

    What a retriever only fills up with it did not find, and gives nothing for.

    Args:
        retrievers: Their rankings are fused.
        query: The query that all of them rank for.
        history: The items that all of them rank.
        k: Most items returned.
        fills: Whether items are fills that the first retriever did not find.
    """
    fused = dict.fromkeys((item.id for item in history), 0.0)
    unfound: set[str] = set()
    for retrieve in retrievers:
        for rank, ranked in enumerate(retrieve(query, history, len(history)), 1):
            if ranked.fill:
                unfound.add(ranked.item.id)
            else:
                fused[ranked.item.id] += 1 / (_FUSION + rank)
    newest_first = range(len(history) - 1, -1, -1)
    order = sorted(newest_first, key=lambda i: -fused[history[i].id])[:k]
    return [Ranked(history[i], fused[history[i].id], fill=fills and history[i].id in unfound) for i in order]


def _index_of(history: Sequence[HistoryItem], stemmer: str | None) -> LexicalIndex:
    if isinstance(history, IndexedHistory) and history.lexical_index.stemmer == stemmer:
        return history.lexical_index
    return LexicalIndex((searched_text(item) for item in history), stemmer)


# A user's items are ranked again for each of their queries: half of a ranking's time went into their words.
@words_remembered(max_bytes=64 << 20)
def _words(text: str, stemmer: str | None) -> tuple[str, ...]:
    return tuple(search_words(text, stemmer))
