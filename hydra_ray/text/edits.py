"""How much of a text was changed: the edit distance between its words and those of another."""

from __future__ import annotations

import numpy as np

from hydra_ray.text.words import parted

# Words of each text that are compared: the time grows with the product of both lengths.
_MOST_WORDS = 2_000


def edit_share(before: str, after: str) -> float:
    """Return how much of a text was changed, from 0 for nothing to 1 for all of it.

    That is the least number of words put in, taken out or replaced (Levenshtein, 1966), as a share of the longer text's
    words. A word ends at a blank, and with its sign in scripts that put no blanks between words, so signs and capitals
    count.

    Args:
        before: The text as it was.
        after: The text that was made of it.
    """
    first, second = (parted(text).split()[:_MOST_WORDS] for text in (before, after))
    longer = max(len(first), len(second))
    return _distance(first, second) / longer if longer else 0.0


def _distance(first: list[str], second: list[str]) -> int:
    numbers = {word: number for number, word in enumerate({*first, *second})}
    columns = np.array([numbers[word] for word in second], dtype=int)
    places = np.arange(len(second) + 1)
    row = places.copy()
    for word in first:
        kept = np.minimum(row[1:] + 1, row[:-1] + (columns != numbers[word]))
        # What is put in from the left: each place is at most one more than the place before it.
        row = np.minimum.accumulate(np.r_[row[0] + 1, kept] - places) + places
    return int(row[-1])
