"""How often a user's past answers say what is judged: a number that encodings of texts blur."""

from __future__ import annotations

import math

# Between the answers that a decision is judged by.
SEPARATOR = " | "

# An answer that was never given counts as this much of one.
_SMOOTHING = 0.1
# The retriever's rank at which an answer counts half.
_HALF_RANK = 10


def log_share(judged: str, answers: str) -> float:
    """Log of the share of the answers that are exactly the judged one, the nearest counting most.

    Answer number i from 0 weighs 10 / (10 + i). With weights w summed over all answers as W and over the equal
    ones as E, the value is log((E + 0.1) / (W + 0.1)): 0 without answers, and about -5 for one of 24 never given.

    Args:
        judged: A candidate.
        answers: Joined by `SEPARATOR`, nearest first; "" for none.
    """
    if not answers:
        return 0.0
    weights: dict[str, float] = {}
    total = 0.0
    for rank, answer in enumerate(answers.split(SEPARATOR)):
        weight = _HALF_RANK / (_HALF_RANK + rank)
        weights[answer] = weights.get(answer, 0.0) + weight
        total += weight
    return math.log((weights.get(judged, 0.0) + _SMOOTHING) / (total + _SMOOTHING))
