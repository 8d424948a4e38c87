"""Rows that `hydra-ray cross-validate` kept of a recipe, and what gates make of them that are fitted anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hydra_ray.bootstrap import Bootstrap, interval
from hydra_ray.evaluate.crossval.gated import gated_answers
from hydra_ray.evaluate.crossval.material import Contest
from hydra_ray.evaluate.crossval.validate import HeldOutAnswer
from hydra_ray.evaluate.scoring.empirical_bayes import chances_of_loss
from hydra_ray.learn.collect.plan import Example
from hydra_ray.models.heads import Head
from hydra_ray.records import Candidate, Query, Source, UserKey
from hydra_ray.settings import GateSettings
from hydra_ray.steps.adapt import AdaptRequest
from hydra_ray.tasks import TASKS, Task

Array = npt.NDArray[np.float64]

_RESAMPLES = 2000
# What a head says is in the scores; a gate asks only whether there was one.
_SOME_HEAD = Head("lowrank", {})


def regated(path: Path, wanted: GateSettings) -> dict[str, Any]:
    """Return what gates make of one recipe's rows, as quality (the task's score) and shares of users.

    Args:
        path: The rows, TASK/RECIPE.parquet.
        wanted: Settings of the gates.
    """
    rows = pq.read_table(path).to_pylist()
    task = _task(path.parent.name, rows)
    answers = [_answer(row) for row in rows]
    gated = {_place(one.answer): one for one in gated_answers(task, answers, wanted)}
    found = [gated[_place(answer)] for answer in answers]

    def quality(texts: Sequence[str]) -> Array:
        return np.array([task.score(text, row["gold"]) for text, row in zip(texts, rows, strict=True)])

    best = _best_plain(rows)
    ungated, given = quality([one.output for one in answers]), quality([one.output for one in found])
    kept = np.array([next(one["quality"] for one in row["controls"] if one["name"] == "gated") for row in rows])
    fallback = quality([one.plain for one in found])
    users = [answer.contest.example.query.user for answer in answers]
    counts = Bootstrap(users, _RESAMPLES, 0)
    sums = counts.sums(np.column_stack([given - ungated, np.ones(len(rows))]))
    cost = interval(sums[:, 0] / sums[:, 1], len(rows))
    return {
        "rows": f"{path.parent.name}/{path.stem}",
        "best_plain": float(best.mean()),
        "fallback": float(fallback.mean()),
        "ungated": float(ungated.mean()),
        "kept": float(kept.mean()),
        "gated": float(given.mean()),
        "cost": (cost.value, cost.low, cost.high),
        "differs": float(np.mean([one.differs for one in found])),
        "passes": float(np.mean([one.passes for one in found])),
        "closed": float(np.mean([one.is_closed for one in found])),
        "worse": _expected_worse(rows, given - best),
        "kept_worse": _expected_worse(rows, kept - best),
        "ungated_worse": _expected_worse(rows, ungated - best),
        "worse_than_fallback": _expected_worse(rows, given - fallback),
    }


def _task(name: str, rows: Sequence[Mapping[str, Any]]) -> Task:
    """The task; where its data tell the labels, those that competed."""
    task = TASKS[name]
    if task.kind != "classification" or task.labels:
        return task
    return replace(task, labels=tuple(sorted({one["text"] for row in rows for one in row["candidates"]})))


def _answer(row: Mapping[str, Any]) -> HeldOutAnswer:
    key = UserKey(row["tenant"], row["user"])
    query = Query(row["query_id"], key, row["input"])
    # Files of before do not tell in which order candidates were sampled: greedy answers are asked for first.
    as_sampled = sorted(
        row["candidates"],
        key=lambda one: (
            one.get("order", 0),
            not any(by["greedy"] for by in one["sources"]),
            not one["votes"],
            one["text"],
        ),
    )
    place = {one["text"]: number for number, one in enumerate(as_sampled)}
    ordered = tuple(
        Candidate(
            one["text"],
            one["votes"],
            place[one["text"]],
            logit=one["logit"],
            score=one["score"],
            sources=tuple(Source(**source) for source in one["sources"]),
        )
        for one in row["candidates"]
    )
    competing = tuple(sorted(ordered, key=lambda one: one.order))
    said = tuple(one for one in competing if one.votes)
    contest = Contest(Example(query, row["gold"], (), pseudo=False), said, competing, tuple(row["history"]))
    head = _SOME_HEAD if row["personal"] else None
    ask = AdaptRequest(query, competing, tuple(row["history"]), head)
    return HeldOutAnswer(row["repeat"], row["fold"], contest, ask, ordered, "", "")


def _place(answer: HeldOutAnswer) -> tuple[int, UserKey, str]:
    query = answer.contest.example.query
    return answer.repeat, query.user, query.id


def _best_plain(rows: Sequence[Mapping[str, Any]]) -> Array:
    """Return the quality of the plain method that is best on the users of other folds, for each row."""
    by_fold: dict[tuple[int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for plain in row["plain"]:
            by_fold[row["repeat"], row["fold"]][plain["name"]].append(plain["quality"])
    best = {}
    for repeat, fold in by_fold:
        others = [own for (of, held), own in by_fold.items() if of == repeat and held != fold]
        means = {name: np.mean(np.concatenate([own[name] for own in others])) for name in by_fold[repeat, fold]}
        best[repeat, fold] = max(means, key=lambda name: means[name])
    return np.array(
        [
            next(one["quality"] for one in row["plain"] if one["name"] == best[row["repeat"], row["fold"]])
            for row in rows
        ]
    )


def _expected_worse(rows: Sequence[Mapping[str, Any]], gains: Array) -> float:
    """Return the share of users who can be expected to lose; a query's gain is its mean over repeats."""
    by_user: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row, gain in zip(rows, gains, strict=True):
        by_user[row["user"]][row["query_id"]].append(float(gain))
    of_users = [np.array([np.mean(own) for own in queries.values()]) for queries in by_user.values()]
    reached = [own for own in of_users if own.any()]
    return float(chances_of_loss(reached).sum() / len(of_users))
