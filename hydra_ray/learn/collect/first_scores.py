"""Checks that the first scores of a collection differ: from equal ones nothing can be learnt."""

from __future__ import annotations

from hydra_ray.learn.collect.labeler import CollectedFeedback
from hydra_ray.tasks import Task

# Examples that are looked at: a closed answer set may well have its first few right, or wrong.
_UNITS = 32
# Of a small plan half, but no fewer.
_LEAST = 8
# Longest part of an answer that is shown.
_SHOWN = 80


class FirstScores:
    """Takes what a collection's first examples taught, and says whether all of their scores are equal.

    Args:
        task: The task that answers are scored by.
        planned: Number of examples in the collection.
    """

    def __init__(self, task: Task, planned: int) -> None:
        self._task = task
        self._wanted = min(_UNITS, max(_LEAST, planned // 2))
        self._examples = self._count = 0
        self._scores: set[float] = set()
        self._answers: set[str] = set()
        self._example = ("", "")

    def note(self, feedback: CollectedFeedback) -> None:
        """Takes the feedback of one example; one with fewer than two scored answers says nothing."""
        scores = [score for row in feedback.reranker for score in (row.score_with, row.score_without)]
        scores += [score for row in feedback.adapter for score in row.scores]
        if len(scores) < 2 or self.differ:
            return
        self._examples, self._count = self._examples + 1, self._count + len(scores)
        self._scores |= {round(score, 6) for score in scores}
        for row in feedback.adapter:
            self._answers |= set(row.candidates)
            self._example = (row.candidates[0], row.gold) if row.candidates else self._example

    @property
    def differ(self) -> bool:
        """Whether two scores differ."""
        return len(self._scores) > 1

    @property
    def decided(self) -> bool:
        """Whether enough examples were taken, and all of their scores are equal."""
        return self._examples >= self._wanted and not self.differ

    @property
    def finding(self) -> str:
        """Sentence on the equal scores and why they may be equal; "" where scores differ or there are none."""
        if self.differ or not self._examples:
            return ""
        (score,) = self._scores
        answer, gold = (" ".join(text.split())[:_SHOWN] for text in self._example)
        example = f'; the LLM answered, for example, "{answer}", and the user "{gold}"' if gold else ""
        return (
            f"all {self._count} scores of the first {self._examples} queries are {score:g}, and nothing can be learnt "
            f"from equal scores: {self._why(score)}{example}"
        )

    def _why(self, score: float) -> str:
        if self._task.labels and self._answers and not self._answers & set(self._task.labels):
            return f"no answer is one of the {len(self._task.labels)} allowed ones (data.labels)"
        if score == 0:
            return "answers have nothing in common with the users' own (another language? data.instruction?)"
        if score == 1:
            return "every answer is the user's own, so the LLM knows it already or repeats what it is shown"
        return "no answer is better than another"
