"""Chooses the candidate that is answered, from how much each is preferred."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydra_ray.records import Candidate
from hydra_ray.tasks import Task


def by_expected_score(task: Task, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Orders candidates by the score that they can be expected to get (minimum Bayes risk; Kumar and Byrne, 2004).

    A candidate's expectation is sum over c of p(c) * task.score(candidate, c), with p the softmax of the candidates'
    scores. Of classes this is the most probable one, of ratings the median, of texts the one that is most like all
    that the user would rather have.

    Args:
        task: Scores one candidate as if another one were the user's own answer.
        candidates: Candidates whose scores are log-preferences up to a constant.

    Returns:
        Best first; of equals the one with the higher score.
    """
    shares = preferences(candidates)

    def expected(candidate: Candidate) -> float:
        return sum(
            share * task.score(candidate.text, other.text) for share, other in zip(shares, candidates, strict=True)
        )

    # Two sums of the same numbers may differ in their last bits.
    return sorted(candidates, key=lambda candidate: (-round(expected(candidate), 9), -candidate.score))


def preferences(candidates: Sequence[Candidate]) -> list[float]:
    """Return the probability with which each candidate is the preferred one: the softmax of their scores."""
    most = max((candidate.score for candidate in candidates), default=0.0)
    weights = [math.exp(candidate.score - most) for candidate in candidates]
    return [weight / sum(weights) for weight in weights]
