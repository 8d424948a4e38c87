"""Controls: what simpler or impossible ways to choose among the LLM's same samples would have answered.

They show what a method's gain comes from. They are not competitors: an oracle sees the gold answer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

from hydra_ray.evaluate.runs import EvalQuery
from hydra_ray.records import Candidate, UserKey
from hydra_ray.steps.decide import by_expected_score
from hydra_ray.tasks import Task

# hydra under a head that is not the user's: these need answers of their own.
HEAD_CONTROLS = ("shared-head", "other-head")
CHOOSING_CONTROLS = ("said-only", "majority-vote", "random-candidate", "best-candidate")
# What is known without any LLM.
YARDSTICKS = ("most-frequent", "constant")
CONTROLS = (*HEAD_CONTROLS, *CHOOSING_CONTROLS, *YARDSTICKS)


def preferred_candidate(candidates: Sequence[Candidate], task: Task, expected: bool) -> str:
    """Return the text that an adapter chooses among some of the candidates that it has scored.

    Args:
        candidates: Candidates with scores; none give an empty answer.
        task: Task that scores candidates against each other.
        expected: Whether the one with the highest expected score answers; else the most preferred one does.
    """
    ordered = by_expected_score(task, candidates) if expected else sorted(candidates, key=lambda c: -c.score)
    return ordered[0].text if ordered else ""


def random_candidate(candidates: Sequence[Candidate], rng: random.Random) -> str:
    """Draw a candidate's text in proportion to its votes: what one sample of the LLM would have been.

    Args:
        candidates: Candidates in any order; none give an empty answer. Without any votes all are equally likely.
        rng: Source of chance.
    """
    if not candidates:
        return ""
    votes = [candidate.votes for candidate in candidates]
    return rng.choices(candidates, weights=votes if any(votes) else None)[0].text


def best_candidate(candidates: Sequence[Candidate], gold: str, task: Task) -> str:
    """Return the candidate's text that scores highest against the gold answer: an oracle, the most choosing can reach.

    Args:
        candidates: Candidates to choose among; ties go to the first, and none give an empty answer.
        gold: The gold answer.
        task: Task that scores the candidates.
    """
    return max((candidate.text for candidate in candidates), key=lambda text: task.score(text, gold), default="")


def yardsticks(task: Task, asked: Sequence[EvalQuery]) -> dict[str, list[str]]:
    """Return outputs that need neither LLM nor gold answers, one for each query; empty unless answers are a closed set.

    `most-frequent` is the user's most frequent answer so far. `constant` (ratings only) is the same for everybody: the
    one that is most users' most frequent answer. A user without history gets that one as `most-frequent` too. Where
    nobody has a history there is neither.
    """
    longest: dict[UserKey, EvalQuery] = {}
    for one in asked:
        if one.most_frequent and one.history_items > getattr(longest.get(one.query.user), "history_items", -1):
            longest[one.query.user] = one
    if not task.closed or not longest:
        return {}
    votes = Counter(one.most_frequent for one in longest.values())
    # Sorted, so that a tie does not depend on the order of users.
    constant = max(sorted(votes), key=lambda answer: votes[answer])
    found = {"most-frequent": [one.most_frequent or constant for one in asked]}
    return found | ({"constant": [constant for _ in asked]} if task.kind == "rating" else {})


def other_users(users: Iterable[UserKey], seed: int) -> dict[UserKey, UserKey]:
    """Give each user one other user, whose head answers in their place; each user is lent exactly once.

    Args:
        users: The users that have a head; their order does not matter.
        seed: Seed that users are paired with.

    Returns:
        The other user by user; empty for fewer than two users.
    """
    ring = sorted(set(users))
    if len(ring) < 2:
        return {}
    random.Random(seed).shuffle(ring)
    return dict(zip(ring, ring[1:] + ring[:1], strict=True))
