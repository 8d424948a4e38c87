"""Runs of methods in a few lines: users' golds, what methods answered, candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra_ray.evaluate.runs import EvalQuery, Row, RunRecord
from hydra_ray.evaluate.scoring.align import align_runs
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard
from hydra_ray.models.lexical import log_share
from hydra_ray.records import Answer, Candidate, Query, Usage, UserKey
from hydra_ray.steps.generate.failures import Failure
from hydra_ray.tasks import Task

TAGS = Task(name="tags", kind="classification", labels=("comedy", "dark comedy", "sci-fi", "drama"))
STARS = Task(name="stars", kind="rating", labels=("1", "2", "3", "4", "5"))
TITLES = Task(name="titles", kind="generation")

RIGHT, WRONG = "comedy", "drama"


def asked(user: str, query: str, gold: str = RIGHT, **known: Any) -> EvalQuery:
    return EvalQuery(Query(query, UserKey("acme", user), f"about {query}"), gold, **known)


def row(known: EvalQuery, output: str | None, candidates: Sequence[Candidate] = (), **answer: Any) -> Row:
    """An answer; None where the LLM refused to give one, or why there is none."""
    seconds = answer.pop("seconds", 0.0)
    if output is None:
        return Row(known, None, seconds, answer.pop("failure", Failure("refused", "too long")))
    return Row(known, Answer(known.query.id, output, candidates=tuple(candidates), **answer), seconds)


def run(method: str, rows: Sequence[Row], task: Task = TAGS, seed: int = 0, **about: Any) -> RunRecord:
    return RunRecord(task, "dev", method, seed, tuple(rows), **about)


def runs(outputs: Mapping[str, Mapping[str, str]], task: Task = TAGS, seed: int = 0, **about: Any) -> list[RunRecord]:
    """A run a method from the users' hits and misses.

    Args:
        outputs: By method and user: "+" for each right answer and "-" for each wrong one.
    """
    return [
        run(
            method,
            [
                row(asked(user, f"{user}{place}"), RIGHT if sign == "+" else WRONG)
                for user, signs in users.items()
                for place, sign in enumerate(signs)
            ],
            task,
            seed,
            **about,
        )
        for method, users in outputs.items()
    ]


def judged(weight: float = 1.0, **offered: tuple[int, float]) -> list[Candidate]:
    """Candidates by text with votes and logit, in the order they were sampled, best first."""
    total = sum(votes for votes, _ in offered.values())
    found = [
        Candidate(text, votes, order, logit, logit + weight * log_share(votes, total))
        for order, (text, (votes, logit)) in enumerate(offered.items())
    ]
    return sorted(found, key=lambda candidate: -candidate.score)


def scoreboard(records: Sequence[RunRecord], resamples: int = 200, seed: int = 0) -> Scoreboard:
    """Without the controls that scoring adds."""
    aligned = align_runs(records)
    return Scoreboard(aligned, {method: aligned.outputs(method) for method in aligned.rows}, resamples, seed)


def usage(calls: int = 0, cached: int = 0) -> Usage:
    return Usage(calls, prompt_tokens=100, completion_tokens=10, cached=cached)
