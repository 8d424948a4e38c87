"""Lexical features of a decision: numbers from its words alone, which encodings of texts blur."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from hydra_ray.bounded import words_remembered
from hydra_ray.text.words import signed_words, words

# How many numbers there are.
LEXICAL = 3

# An answer that was never given counts as this much of one.
SMOOTHING = 0.1
# The retriever's rank at which an answer counts half.
_HALF_RANK = 10


def lexical_features(candidate: str, query: str, answers: Sequence[str]) -> tuple[float, float, float]:
    """Return how often and how nearly past answers say the candidate, and how much of it stands in the query.

    Answer number i from 0 weighs w_i = 10 / (10 + i); W is the sum of all weights.

    Args:
        candidate: Text of a candidate, or of a history item.
        query: Text of the query.
        answers: The user's past answers, nearest first.

    Returns:
        Three numbers. First log((E + 0.1) / (W + 0.1)) with E the weights of the answers that are exactly the
        candidate: 0 without answers, about -5 for one of 24 never given. Second the same with E the sum of w_i * F1
        of the words of both, which is ROUGE-1: it knows a user's manner where no text comes twice. Third the share of
        the candidate's words that stand in `query`, 0 to 1.
    """
    own, known = _words(candidate), _words(query)
    grounded = sum(count for word, count in own.items() if word in known) / max(1, own.total())
    if not any(answers):
        return 0.0, 0.0, grounded
    # Of a closed set the same few answers come again and again.
    overlaps = {answer: _f1(own, _words(answer)) for answer in dict.fromkeys(answers)}
    total = equal = alike = 0.0
    for rank, answer in enumerate(answers):
        weight = _HALF_RANK / (_HALF_RANK + rank)
        total += weight
        equal += weight * (answer == candidate)
        alike += weight * overlaps[answer]
    return log_share(equal, total), log_share(alike, total), grounded


def log_share(part: float, total: float) -> float:
    """Return log((part + 0.1) / (total + 0.1)): an answer's share of an LLM's votes, or of past answers; may be 0."""
    return math.log((part + SMOOTHING) / (total + SMOOTHING))


def _f1(one: Counter[str], other: Counter[str]) -> float:
    length = one.total() + other.total()
    # As `(one & other).total()`, which goes through all words of a long text for a label.
    fewer, more = (one, other) if len(one) < len(other) else (other, one)
    both = sum(min(count, more[word]) for word, count in fewer.items() if word in more)
    return 2 * both / length if length else 0.0


# Queries and answers come again and again: with each candidate, and in each epoch.
@words_remembered(max_bytes=32 << 20)
def _words(text: str) -> Counter[str]:
    return Counter([*words(text), *signed_words(text)])
