"""Files of a comparison's result: `results.json` has all of it, `results.csv` and `pairs.csv` are tables."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

from hydra_ray.atomic import write_text
from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.results import ComparisonResult, Cost, TaskResult
from hydra_ray.evaluate.scoring.align import METHOD
from hydra_ray.steps.generate import FINAL_KINDS

SCHEMA = "hydra-ray/results/v2"

_INTERVAL = tuple(one.name for one in fields(Interval))
_COSTS = tuple(one.name for one in fields(Cost))
_FINAL = tuple(sorted(FINAL_KINDS))
_RESULTS = ("task", "split", "method", "control", "metric", *_INTERVAL, "users", *_COSTS, *_FINAL)
_PAIRS = ("task", "split", "metric", "first", "second", "difference", *_INTERVAL[1:], "p", "p_holm")


def write_result(folder: Path, result: ComparisonResult) -> None:
    """Write `results.json`, `results.csv` and `pairs.csv`, each as a whole or not at all.

    An interval without an end (a baseline at 0 in too many resamples) has null there, and an empty cell.

    Args:
        folder: Folder to write to; made when it does not exist. Files of an earlier run are replaced.
        result: The comparison, from `score_runs`.
    """
    # All are serialised before any is replaced: a failure leaves an earlier run's files as they are.
    texts = {
        "results.json": json.dumps(to_json(result), indent=1, allow_nan=False) + "\n",
        "results.csv": _table(_RESULTS, _results(result)),
        "pairs.csv": _table(_PAIRS, _pairs(result)),
    }
    for name, text in texts.items():
        write_text(folder / name, text)


def to_json(result: ComparisonResult) -> dict[str, Any]:
    """Return the result as plain JSON values: no NaN, no infinity.

    The figures of a single task stand at the top level too.
    """
    alone = _at_the_top(result.tasks[0]) if len(result.tasks) == 1 else {}
    return {"schema": SCHEMA, **_plain(alone), **_plain(asdict(result))}


def _at_the_top(task: TaskResult) -> dict[str, Any]:
    methods = {name: {metric: asdict(value) for metric, value in own.items()} for name, own in task.methods.items()}
    improvement: dict[str, Any] | None = None
    if task.headline is not None:
        found = task.headline.relative
        about = {"metric": task.metrics[0], "method": METHOD, "baseline": dict(task.headline.chosen)}
        improvement = {**about, "relative": found.value, "low": found.low, "high": found.high}
    return {"task": task.task, "split": task.split, "methods": methods, "improvement": improvement}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _results(result: ComparisonResult) -> Iterator[Sequence[Any]]:
    """Yield a row for each task, method and metric; methods without runs of their own have no costs."""
    for task in result.tasks:
        for method, by_metric in task.methods.items():
            cost = astuple(task.costs[method]) if method in task.costs else [None] * len(_COSTS)
            counts = {one.kind: one.count for one in task.unanswered.get(method, ())}
            refused = [counts.get(kind, 0) if method in task.costs else None for kind in _FINAL]
            for metric, found in by_metric.items():
                about = (task.task, task.split, method, method in task.controls, metric)
                yield (*about, *astuple(found), task.users, *cost, *refused)


def _pairs(result: ComparisonResult) -> Iterator[Sequence[Any]]:
    for task in result.tasks:
        for pair in task.pairs:
            about = (task.task, task.split, task.metrics[0], pair.first, pair.second)
            yield (*about, *astuple(pair.difference), pair.p, pair.p_holm)


def _table(header: Sequence[str], rows: Iterator[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(_plain(row) for row in rows)
    return text.getvalue()
