"""One query's samples drawn again, fewer of them: which candidate would then have been chosen?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hydra_ray.evaluate.runs import RunRecord
from hydra_ray.evaluate.scoring.metrics import Array
from hydra_ray.models.lexical import SMOOTHING, log_share
from hydra_ray.records import Candidate
from hydra_ray.steps.adapt import all_compete
from hydra_ray.tasks import Task

DRAWS = 32


@dataclass(frozen=True, slots=True)
class Samples:
    """A query's distinct candidates, in the order in which they were sampled.

    Attributes:
        texts: Texts of the candidates.
        votes: Number of samples that gave each candidate, shape (candidates,).
        logits: Logits of the adapter, shape (candidates,); None where it scored none, and the most votes win.
        weight: Weight of the vote in a candidate's score.
        gains: Score of each candidate if another one were right, shape (candidates, candidates); None where the most
            preferred candidate answers, whatever the others are.
        unsaid: Whether candidates can be chosen that no sample gave.
    """

    texts: tuple[str, ...]
    votes: npt.NDArray[np.int64]
    logits: Array | None
    weight: float
    gains: Array | None
    unsaid: bool

    @classmethod
    def of(cls, candidates: Sequence[Candidate], task: Task, run: RunRecord) -> Samples:
        """Make samples from the candidates of an answer.

        Args:
            candidates: Candidates in any order; may be none.
            task: Task that scores candidates against each other.
            run: Run record that says how a candidate was chosen.
        """
        ordered = sorted(candidates, key=lambda candidate: candidate.order)
        texts = tuple(candidate.text for candidate in ordered)
        logits = [candidate.logit for candidate in ordered if candidate.logit is not None]
        judged = len(logits) == len(ordered)
        return cls(
            texts,
            np.array([candidate.votes for candidate in ordered], dtype=np.int64),
            np.array(logits) if judged else None,
            recover_weight(ordered, run.vote_weight),
            _gains(task, texts) if judged and run.expected else None,
            bool(texts) and judged and all_compete(task, run.allowed_answers),
        )

    def chosen(self, n: int, samples: int, rng: np.random.Generator) -> Array:
        """Return how often each candidate is chosen when only n samples are drawn, over `DRAWS` draws.

        Samples are drawn without replacement. Scores are made again from the drawn votes, as the adapter makes them.

        Args:
            n: Number of samples drawn; the LLM's greedy answer is one like others.
            samples: Number of samples asked for; those that are no candidate's votes gave no candidate.
            rng: Source of chance.

        Returns:
            Shares, shape (candidates + 1,), adding up to 1; the last is for no answer at all.
        """
        colours = [*self.votes, samples - self.votes.sum()]
        # Where everything is drawn all draws are the same.
        drawn = rng.multivariate_hypergeometric(colours, n, size=DRAWS if n < samples else 1)[:, :-1]
        none = len(self.texts)
        chosen = np.full(len(drawn), none)
        some = drawn.any(axis=1) | self.unsaid
        if some.any():
            chosen[some] = self._choose(drawn[some])
        return np.bincount(chosen, minlength=none + 1) / len(drawn)

    def _choose(self, drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the chosen candidate of each draw; of equals, the one sampled first.

        Args:
            drawn: Votes in each draw, shape (draws, candidates); each draw has some, or candidates need none.

        Returns:
            Places of candidates, shape (draws,).
        """
        if self.logits is None:
            return drawn.argmax(axis=1)
        open_to_choice = (drawn > 0) | self.unsaid
        log_shares = np.log((drawn + SMOOTHING) / (drawn.sum(axis=1, keepdims=True) + SMOOTHING))
        scores = np.where(open_to_choice, self.logits + self.weight * log_shares, -np.inf)
        if self.gains is None:
            return scores.argmax(axis=1)
        # As `by_expected_score` has it.
        preferred = np.exp(scores - scores.max(axis=1, keepdims=True))
        expected = preferred @ self.gains.T / preferred.sum(axis=1, keepdims=True)
        expected = np.where(open_to_choice, expected.round(9), -np.inf)
        best = expected == expected.max(axis=1, keepdims=True)
        return np.where(best, scores, -np.inf).argmax(axis=1)


def recover_weight(candidates: Sequence[Candidate], default: float) -> float:
    """Recover the weight of the vote from stored scores: score = logit + weight * log_share.

    A user's head may have a weight of its own.

    Args:
        candidates: Candidates of one query.
        default: Weight where no candidate shows it: none was scored, or one has all votes.
    """
    total = sum(candidate.votes for candidate in candidates)
    # The smallest share tells it best: scores are stored in single precision.
    for candidate in sorted(candidates, key=lambda one: one.votes):
        if candidate.logit is not None and candidate.votes < total:
            return (candidate.score - candidate.logit) / log_share(candidate.votes, total)
    return default


def _gains(task: Task, texts: Sequence[str]) -> Array:
    gains = np.zeros((len(texts), len(texts)))
    for row, text in enumerate(texts):
        # All kinds' scores are symmetric: each pair is scored once.
        for column in range(row, len(texts)):
            gains[row, column] = gains[column, row] = task.score(text, texts[column])
    return gains
