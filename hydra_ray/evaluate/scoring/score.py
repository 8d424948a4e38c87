"""Scores run records: from answers to everything that results and report show."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from hydra_ray.bootstrap import interval
from hydra_ray.evaluate.results import Bin, ComparisonResult, Cost, Profiled, TaskResult
from hydra_ray.evaluate.runs import RunRecord
from hydra_ray.evaluate.scoring import against_plain as plain
from hydra_ray.evaluate.scoring.ablations import by_candidates, by_users
from hydra_ray.evaluate.scoring.against_plain import PlainRows, against_plain
from hydra_ray.evaluate.scoring.align import METHOD, AlignedRuns, align_runs
from hydra_ray.evaluate.scoring.controls import (
    CONTROLS,
    best_candidate,
    preferred_candidate,
    random_candidate,
    yardsticks,
)
from hydra_ray.evaluate.scoring.gate_use import caution, gate_use
from hydra_ray.evaluate.scoring.headline import PROMPT_BASED, HeadlineRows, over_tasks, task_headline
from hydra_ray.evaluate.scoring.pairs import pairs_of
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard
from hydra_ray.evaluate.scoring.slices import slices_of
from hydra_ray.evaluate.scoring.win_loss import fates_of, gains_of
from hydra_ray.records import HydraError, UserKey
from hydra_ray.steps.generate.failures import Unanswered, by_kind
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.steps.vote import consensus

_BINS = 10
# The method that tells differences whatever the settings say.
_COMPARING = "dpl"


def score_runs(
    records: Sequence[RunRecord],
    *,
    resamples: int,
    seed: int,
    baselines: Sequence[str],
    folds: int,
) -> ComparisonResult:
    """Score the run records of one or several tasks.

    Within a task all methods are held to the same items: every query that any method was asked under a training seed. A
    method without an answer to one counts as wrong there, and in `missing`. A method that does not depend on training
    may come with one seed; its rows then stand for the task's other seeds as well. Rows of all seeds are stacked, and
    a user is one unit of the bootstrap whatever the seed.

    Args:
        records: Run records; their order changes nothing.
        resamples: Number of resamples of users behind each interval.
        seed: Seed of the resampling, the folds and the draws among candidates.
        baselines: Prompt-based methods that the headline compares hydra with, as far as they ran; empty means all
            of `PROMPT_BASED`.
        folds: Number of folds of users by which the headline chooses among the baselines.

    Raises:
        HydraError: There are no runs or no queries in them, runs do not fit together, or there are no metrics for a
            kind of task.
    """
    if not records:
        raise HydraError("there are no runs to score; hydra-ray evaluate writes them")
    tasks, headlines, beside_plain = [], [], list[PlainRows]()
    for name in sorted({record.task.name for record in records}):
        aligned = align_runs([record for record in records if record.task.name == name])
        if not aligned.asked:
            raise HydraError(f"task {name}: the runs on split {aligned.split} have no queries")
        # Tasks are resampled independently, also where they have as many users.
        task_seed = stable_seed(seed, name)
        scoreboard = Scoreboard(aligned, _outputs(aligned), resamples, task_seed)
        compared = [method for method in baselines or PROMPT_BASED if method in aligned.rows]
        rows = task_headline(scoreboard, compared, folds, task_seed)
        costs = {method: _cost(aligned, method) for method in aligned.rows}
        calls = {method: cost.calls for method, cost in costs.items()}
        own = against_plain(scoreboard, compared, calls, folds, task_seed)
        tasks.append(_result(scoreboard, compared, rows, costs, own))
        beside_plain += own
        if rows is not None:
            headlines.append(rows)
    return ComparisonResult(tuple(tasks), over_tasks(headlines), plain.over_tasks(beside_plain), caution(beside_plain))


def calibration(judged: Sequence[tuple[float, bool]]) -> tuple[Bin, ...]:
    """Return the predicted chance to help and the share of items that helped, in ten bins of equal counts.

    The chance is the logistic function of the score.

    Args:
        judged: Scores, each with whether the item helped, in any order; fewer than ten give as many bins.
    """
    if not judged:
        return ()
    scores, helped = (np.array(column, dtype=float) for column in zip(*judged, strict=True))
    # In halves, as exp of a large number overflows.
    predicted = 0.5 * (1 + np.tanh(scores / 2))
    bins = np.array_split(np.argsort(predicted, kind="stable"), min(_BINS, len(judged)))
    return tuple(Bin(float(predicted[own].mean()), float(helped[own].mean()), len(own)) for own in bins)


def _outputs(aligned: AlignedRuns) -> dict[str, list[str]]:
    """Return outputs by method: those of the runs, and of the controls that follow from them."""
    outputs = {method: aligned.outputs(method) for method in aligned.rows}
    if METHOD in aligned.rows:
        outputs |= _chosen_otherwise(aligned)
    return outputs | yardsticks(aligned.task, aligned.asked)


def _chosen_otherwise(aligned: AlignedRuns) -> dict[str, list[str]]:
    """Return the outputs of other ways to choose among the very samples that hydra had."""
    answers = [row.answer if row else None for row in aligned.rows[METHOD]]
    competed = [answer.candidates if answer else () for answer in answers]
    offered = [tuple(candidate for candidate in own if candidate.votes) for own in competed]
    chances = [
        random.Random(stable_seed(seed, *asked.query.user, asked.query.id))
        for seed, asked in zip(aligned.seed_of, aligned.asked, strict=True)
    ]
    agreed = [consensus(aligned.task, own) for own in offered]
    # Where nothing else competed it is hydra itself, without its gate.
    said_only = {
        "said-only": [
            preferred_candidate(own, aligned.task, aligned.hydra[seed].expected)
            for own, seed in zip(offered, aligned.seed_of, strict=True)
        ]
    }
    return (said_only if offered != competed else {}) | {
        "majority-vote": [own[0].text if own else "" for own in agreed],
        "random-candidate": [random_candidate(own, rng) for own, rng in zip(offered, chances, strict=True)],
        "best-candidate": [
            best_candidate(own, gold, aligned.task) for own, gold in zip(offered, aligned.golds, strict=True)
        ],
    }


def _result(
    scoreboard: Scoreboard,
    baselines: Sequence[str],
    rows: HeadlineRows | None,
    costs: Mapping[str, Cost],
    beside_plain: Sequence[PlainRows],
) -> TaskResult:
    aligned, items = scoreboard.aligned, len(scoreboard.aligned.asked)
    missing = {method: sum(not text.strip() for text in texts) for method, texts in scoreboard.outputs.items()}
    return TaskResult(
        task=aligned.task.name,
        split=aligned.split,
        metrics=tuple(metric.name for metric in scoreboard.metrics),
        higher_is_better={metric.name: metric.higher_is_better for metric in scoreboard.metrics},
        users=scoreboard.bootstrap.users,
        queries=len({(asked.query.user, asked.query.id) for asked in aligned.asked}),
        seeds=aligned.seeds,
        methods={
            method: {name: interval(values, items) for name, values in by_metric.items()}
            for method, by_metric in scoreboard.values.items()
        },
        controls=tuple(method for method in scoreboard.values if method in CONTROLS),
        by_seed=scoreboard.by_seed(),
        pairs=pairs_of(scoreboard),
        slices=slices_of(scoreboard),
        fates=fates_of(scoreboard),
        costs=costs,
        gains=gains_of(scoreboard, baselines),
        calibration=calibration(aligned.judged),
        by_candidates=by_candidates(scoreboard),
        by_users=by_users(scoreboard),
        missing={method: count for method, count in missing.items() if count},
        headline=rows.summary() if rows else None,
        own_heads=_own_heads(aligned),
        unanswered={method: found for method in aligned.rows if (found := _unanswered(aligned, method))},
        profiled={method: own for method in aligned.rows if (own := _profiled(aligned, method))},
        against_plain={one.method: one.summary() for one in beside_plain},
        gate=gate_use(scoreboard),
    )


def _unanswered(aligned: AlignedRuns, method: str) -> tuple[Unanswered, ...]:
    """Count the reasons why the LLM gave no answer, as far as a method's runs say."""
    return by_kind(Counter(row.failure for row in aligned.rows[method] if row is not None and row.failure is not None))


def _profiled(aligned: AlignedRuns, method: str) -> Profiled | None:
    """Count users by what their profiles tell; None where a method tells no differences."""
    users, alone = set[UserKey](), set[UserKey]()
    for row in aligned.rows[method]:
        # Of who has no history there is no profile.
        if row is not None and row.answer is not None and row.asked.history_items:
            users |= set() if "profile" in row.answer.degraded else {row.user}
            alone |= {row.user} if "differences" in row.answer.degraded else set()
    if method != _COMPARING and not alone and not aligned.read[method]:
        return None
    # Not the counter itself: `asdict` makes a counter of pairs out of one.
    return Profiled(len(users), len(users - alone), dict(aligned.read[method]))


def _own_heads(aligned: AlignedRuns) -> float | None:
    answers = [row.answer for row in aligned.rows.get(METHOD, ()) if row is not None and row.answer is not None]
    return sum(answer.head == "user" for answer in answers) / len(answers) if answers else None


def _cost(aligned: AlignedRuns, method: str) -> Cost:
    """Return mean costs of the requests that were answered; those that were not are counted apart.

    The LLM's usage besides the answers is shared out evenly.
    """
    rows = aligned.rows[method]
    answered = [(row.answer, row.seconds) for row in rows if row is not None and row.answer is not None]
    used = [
        (
            answer.usage.calls + answer.usage.cached,
            answer.usage.prompt_tokens,
            answer.usage.completion_tokens,
            seconds,
            bool(answer.degraded),
        )
        for answer, seconds in answered
    ]
    calls, prompt, completion, seconds, degraded = map(float, np.mean(used, axis=0) if used else np.zeros(5))
    beside, requests = aligned.besides[method]
    calls += (beside.calls + beside.cached) / max(1, requests)
    prompt += beside.prompt_tokens / max(1, requests)
    completion += beside.completion_tokens / max(1, requests)
    return Cost(calls, prompt, completion, seconds, failed=1 - len(answered) / len(rows), degraded=degraded)
