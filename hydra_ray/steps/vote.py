"""The consensus of an LLM's samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from hydra_ray.records import Candidate
from hydra_ray.steps.decide import by_expected_score
from hydra_ray.tasks import Task


def consensus(task: Task, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Candidates by how well each agrees with all samples: sum over others o of votes(o) * task.score(candidate, o).

    Each is among the others with its own votes. For classes that puts the majority first, for ratings the median,
    for text what minimum Bayes risk decoding (Kumar and Byrne, 2004) under the task's score chooses.

    Args:
        task: Scores one answer as if another were right.
        candidates: Distinct, in any order.

    Returns:
        Best first, their scores the log share of votes; of equals the one with more votes, then the one sampled first.
    """
    samples = sum(candidate.votes for candidate in candidates)
    as_sampled = sorted(candidates, key=lambda candidate: candidate.order)
    return tuple(by_expected_score(task, [replace(c, score=math.log(c.votes / samples)) for c in as_sampled]))
