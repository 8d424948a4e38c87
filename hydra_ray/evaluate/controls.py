"""Controls: what simpler or impossible ways to choose among the same candidates would have answered.

They tell what a method's gain comes from. They are no competitors: an oracle sees the gold answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from hydra_ray.records import Candidate, UserKey
from hydra_ray.tasks import Task


def majority(candidates: Sequence[Candidate]) -> str:
    """The answer that the LLM sampled most often; ties go to the one sampled first.

    Args:
        candidates: Any order; none give an empty answer.
    """
    return max(candidates, key=lambda candidate: (candidate.votes, -candidate.order)).text if candidates else ""


def random_candidate(candidates: Sequence[Candidate], rng: random.Random) -> str:
    """A candidate drawn in proportion to its votes: what one sample of the LLM would have been.

    Args:
        candidates: Any order; none give an empty answer. Without any votes all are equally likely.
        rng: Source of chance.
    """
    if not candidates:
        return ""
    votes = [candidate.votes for candidate in candidates]
    return rng.choices(candidates, weights=votes if any(votes) else None)[0].text


def best_candidate(candidates: Sequence[Candidate], gold: str, task: Task) -> str:
    """The candidate that scores highest against the gold answer: an oracle, the most that choosing can reach.

    Args:
        candidates: Ties go to the first; none give an empty answer.
        gold: The gold answer.
        task: Scores the candidates.
    """
    return max((candidate.text for candidate in candidates), key=lambda text: task.score(text, gold), default="")


def closed_gap(hydra: float, majority: float, best: float) -> float | None:
    """Share of the gap between majority and oracle that the method closes.

    Args:
        hydra: A metric of the method; higher or lower may be better.
        majority: The same metric of `majority`.
        best: The same metric of `best_candidate`.

    Returns:
        0 for no better than majority, 1 for as good as the oracle, None when there is no gap.
    """
    return None if best == majority else (hydra - majority) / (best - majority)


def other_users(users: Iterable[UserKey], seed: int) -> dict[UserKey, UserKey]:
    """For each user one other user, whose head answers in their place; each user is lent exactly once.

    Args:
        users: The users that have a head; their order does not matter.
        seed: Of the pairing.

    Returns:
        The other user by user; empty for fewer than two users.
    """
    ring = sorted(set(users))
    if len(ring) < 2:
        return {}
    random.Random(seed).shuffle(ring)
    return dict(zip(ring, ring[1:] + ring[:1], strict=True))
