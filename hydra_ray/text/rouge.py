"""ROUGE of texts in any language; for ASCII text exactly what the package `rouge_score` gives.

That package reads "[^a-z0-9]" as blanks, so every text in another script is empty to it, and fills a table of both
texts' lengths for ROUGE-L (34 s for 512 by 20,000 words).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from hydra_ray.text.words import words


class Rouge(NamedTuple):
    """F measures, 0 to 1.

    Attributes:
        rouge_1: F measure of the words that both texts have.
        rouge_l: F measure of the longest common subsequence of words.
    """

    rouge_1: float
    rouge_l: float


def rouge(output: str, gold: str) -> Rouge:
    """Return ROUGE-1 and ROUGE-L (Lin, 2004) of an output against gold, unstemmed; 0 where either has no words."""
    said, wanted = words(output), words(gold)
    if not said or not wanted:
        return Rouge(0.0, 0.0)
    shared = (Counter(said) & Counter(wanted)).total()
    return Rouge(
        f_measure(shared, len(said), len(wanted)),
        f_measure(longest_common_subsequence(said, wanted), len(said), len(wanted)),
    )


def f_measure(shared: int, said: int, wanted: int) -> float:
    """Return the harmonic mean of precision and recall; the package's order of operations keeps the last digit."""
    precision, recall = shared / said, shared / wanted
    return 2 * precision * recall / (precision + recall) if shared else 0.0


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the exact length of the longest common subsequence, by bit-parallel rows (Hyyrö, 2004).

    One integer holds a whole row of the classic table: bit i is 0 where the row's length grows at word i. 512 by
    20,000 words take milliseconds, 20,000 by 20,000 a tenth of a second.
    """
    short, long = sorted((one, other), key=len)
    places: dict[str, int] = {}
    for place, word in enumerate(short):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(short)) - 1
    row = every
    for word in long:
        if at := places.get(word):
            match = row & at
            row = (row + match | row - match) & every
    return len(short) - row.bit_count()
