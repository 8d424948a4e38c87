"""BM25 over documents that come and go, scored at every moment as if the index had just been built."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

# As bm25s has them.
_K1, _B = 1.5, 0.75
# Removed documents stay in the arrays until they are more than these many, and more than this share.
_FEW, _SHARE = 64, 0.1
_ENTRY_BYTES = 120

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Segment:
    """Documents that were indexed together: which word stands how often in which of them.

    Attributes:
        ids: Number of each word, 0 to n - 1.
        starts: Where each word's entries begin in `documents` and `counts`, shape (n + 1,).
        documents: Rows within the segment, ascending for each word.
        counts: How often the word stands there.
        lengths: Words of each document.
    """

    ids: dict[str, int]
    starts: npt.NDArray[np.int64]
    documents: Ints
    counts: Floats
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, documents: Iterable[Sequence[str]]) -> _Segment:
        """Counts the words of some documents."""
        ids, words, lengths = dict[str, int](), array("i"), array("q")
        for document in documents:
            words.extend(ids.setdefault(word, len(ids)) for word in document)
            lengths.append(len(document))
        sizes = np.array(lengths, np.int64)
        rows = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
        entries, counts = np.unique(np.array(words, np.int64) << 32 | rows, return_counts=True)
        return cls(ids, *_split(entries, len(ids)), counts.astype(np.float32), sizes)

    @classmethod
    def merged(cls, segments: Sequence[_Segment], kept: Sequence[npt.NDArray[np.bool_]]) -> _Segment:
        """One segment of what is kept of several, in their order; no document is read again."""
        ids, words, rows, counts, first = dict[str, int](), [], [], [], 0
        for segment, keep in zip(segments, kept, strict=True):
            known = np.fromiter((ids.setdefault(word, len(ids)) for word in segment.ids), np.int64, len(segment.ids))
            here = keep[segment.documents]
            words.append(np.repeat(known, np.diff(segment.starts))[here])
            # Numbers of documents without those that are gone.
            rows.append((first + np.cumsum(keep) - 1)[segment.documents[here]])
            counts.append(segment.counts[here])
            first += int(keep.sum())
        entries = np.concatenate(words) << 32 | np.concatenate(rows)
        order = np.argsort(entries)
        entries = entries[order]
        lengths = np.concatenate([segment.lengths[keep] for segment, keep in zip(segments, kept, strict=True)])
        # Words that only stood in what is gone have no entries and cost a name.
        return cls(ids, *_split(entries, len(ids)), np.concatenate(counts)[order], lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, and about those of the words."""
        arrays = self.starts, self.documents, self.counts, self.lengths
        return sum(one.nbytes for one in arrays) + _ENTRY_BYTES * len(self.ids)

    def entries(self, word: str) -> tuple[Ints, Floats]:
        """Documents with a word, and how often it stands there."""
        place = self.ids.get(word)
        mine = slice(0, 0) if place is None else slice(self.starts[place], self.starts[place + 1])
        return self.documents[mine], self.counts[mine]


class Bm25:
    """Scores of documents for any number of queries (Robertson and Zaragoza, 2009), bit for bit as bm25s gives them.

    Counts are kept, not scores: how rare a word is and how long documents are on average is known when a query comes.
    So documents can be added and removed without a look at the others, and nothing is approximate. Added documents make
    a small segment of their own; one that has grown to half of the segment before it is merged with it.

    An index never changes: `changed` gives another one, which shares what stays. Any thread may ask.
    """

    def __init__(self, documents: Iterable[Sequence[str]] = ()) -> None:
        """Indexes the words of each document."""
        first = _Segment.of(documents)
        self._hold((first,), np.ones(len(first.lengths), bool))

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Memory of the index, about."""
        return sum(segment.nbytes for segment in self._segments) + self._kept.nbytes + self._lengths.nbytes

    def changed(self, left: npt.NDArray[np.bool_] | None, added: Sequence[Sequence[str]]) -> Bm25:
        """The index without some of its documents and with others behind them.

        Args:
            left: True for each document that stays, shape (documents,); None keeps all.
            added: Words of those that come.
        """
        segments, kept = self._segments, self._kept.copy()
        if left is not None:
            kept[np.flatnonzero(kept)[~left]] = False
        if added:
            segments = (*segments, _Segment.of(added))
            kept = np.concatenate([kept, np.ones(len(added), bool)])
        now = Bm25.__new__(Bm25)
        now._hold(*_tidied(segments, kept))
        return now

    def scores(self, words: Sequence[str]) -> Floats:
        """Return each document's BM25 for a query of these words, shape (documents,), float32; 0 where it has none."""
        scores = np.zeros(len(self._kept), np.float32)
        for word in words:
            rows, counts = self._entries(word)
            rarity = np.float32(math.log(1 + (self._size - len(rows) + 0.5) / (len(rows) + 0.5)))
            weight = counts / (_K1 * ((1 - _B) + _B * self._lengths[rows] / self._mean_length) + counts)
            scores[rows] += (rarity * weight).astype(np.float32)
        return scores[self._kept]

    def _hold(self, segments: tuple[_Segment, ...], kept: npt.NDArray[np.bool_]) -> None:
        self._segments, self._kept, self._size = segments, kept, int(kept.sum())
        self._lengths = np.concatenate([segment.lengths for segment in segments])
        # Only looked at where a document has a word.
        self._mean_length = self._lengths[kept].mean() if self._size else np.float64(1)

    def _entries(self, word: str) -> tuple[Ints, Floats]:
        rows, counts, first = [], [], 0
        for segment in self._segments:
            documents, here = segment.entries(word)
            if len(documents):
                kept = self._kept[first + documents]
                rows.append(first + documents[kept])
                counts.append(here[kept])
            first += len(segment.lengths)
        if not rows:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        return np.concatenate(rows), np.concatenate(counts)


def _tidied(
    segments: tuple[_Segment, ...], kept: npt.NDArray[np.bool_]
) -> tuple[tuple[_Segment, ...], npt.NDArray[np.bool_]]:
    """Return the same documents, in few segments and with few that are gone."""
    sizes = [len(segment.lengths) for segment in segments]
    is_stale = len(kept) - kept.sum() > max(_FEW, _SHARE * len(kept))
    last = len(sizes) if is_stale else 1
    # As many of the last ones as it takes for what they make to be less than half of the one before.
    while last < len(sizes) and 2 * sum(sizes[-last:]) >= sizes[-last - 1]:
        last += 1
    if last == 1 and not is_stale:
        return segments, kept
    bounds = np.cumsum([0, *sizes])[-last - 1 :]
    whole = _Segment.merged(segments[-last:], [kept[start:end] for start, end in pairwise(bounds)])
    return (*segments[:-last], whole), np.concatenate([kept[: bounds[0]], np.ones(len(whole.lengths), bool)])


def _split(entries: npt.NDArray[np.int64], words: int) -> tuple[npt.NDArray[np.int64], Ints]:
    """Return where each word's entries begin, and the row of each entry, out of (word << 32 | row)."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(entries >> 32, minlength=words))])
    return starts, (entries & 0xFFFFFFFF).astype(np.int32)
