"""What a comparison came to, as files: `results.json` whole, `results.csv` and `pairs.csv` as tables."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hydra_ray.atomic import write_text
from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.results import Cost, Outcome, TaskOutcome
from hydra_ray.evaluate.scoring.align import METHOD
from hydra_ray.records import HydraError
from hydra_ray.steps.generate import FINAL_KINDS

SCHEMA = "hydra-ray/results/v2"

_OUTCOME = TypeAdapter(Outcome)
_INTERVAL = tuple(one.name for one in fields(Interval))
_COSTS = tuple(one.name for one in fields(Cost))
_FINAL = tuple(sorted(FINAL_KINDS))
_RESULTS = ("task", "split", "method", "control", "metric", *_INTERVAL, "users", *_COSTS, *_FINAL)
_PAIRS = ("task", "split", "metric", "first", "second", "difference", *_INTERVAL[1:], "p", "p_holm")


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Writes `results.json`, `results.csv` and `pairs.csv`, each as a whole or not at all.

    An interval without an end (a baseline at 0 in too many resamples) has null there, and an empty cell.

    Args:
        folder: Made when it does not exist; files of an earlier run are replaced.
        outcome: What `score_dumps` gives.
    """
    # All are serialised before any is replaced: a failure leaves an earlier run's files as they are.
    texts = {
        "results.json": json.dumps(to_json(outcome), indent=1, allow_nan=False) + "\n",
        "results.csv": _table(_RESULTS, _results(outcome)),
        "pairs.csv": _table(_PAIRS, _pairs(outcome)),
    }
    for name, text in texts.items():
        write_text(folder / name, text)


def read_outcome(path: Path) -> Outcome:
    """Reads a `results.json`.

    Raises:
        HydraError: The file is missing, is no JSON, or follows another schema.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_hook=_with_ends)
    except FileNotFoundError:
        raise HydraError(f"{path}: no such file; hydra-ray evaluate writes it") from None
    except ValueError as error:
        raise HydraError(f"{path}: not JSON: {error}") from None
    schema = values.pop("schema", None) if isinstance(values, dict) else None
    if schema != SCHEMA:
        raise HydraError(f'{path}: the schema is "{schema}", this version reads "{SCHEMA}"; evaluate again')
    try:
        return _OUTCOME.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise HydraError(f"{path}: {where}: {first['msg']}; evaluate again") from None


def to_json(outcome: Outcome) -> dict[str, Any]:
    """As plain JSON values: no NaN, no infinity. What is about one task only says it at the top too."""
    alone = _at_the_top(outcome.tasks[0]) if len(outcome.tasks) == 1 else {}
    return {"schema": SCHEMA, **_plain(alone), **_plain(asdict(outcome))}


def _at_the_top(task: TaskOutcome) -> dict[str, Any]:
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


def _with_ends(values: dict[str, Any]) -> dict[str, Any]:
    # Only an interval has these keys; an end that is not there is infinitely far away.
    if set(values) == set(_INTERVAL):
        ends = {"low": -math.inf, "high": math.inf}
        values |= {name: end for name, end in ends.items() if values[name] is None}
    return values


def _results(outcome: Outcome) -> Iterator[Sequence[Any]]:
    """A row a task, method and metric; methods without runs of their own cost nothing of their own."""
    for task in outcome.tasks:
        for method, by_metric in task.methods.items():
            cost = astuple(task.costs[method]) if method in task.costs else [None] * len(_COSTS)
            counts = {one.kind: one.count for one in task.unanswered.get(method, ())}
            refused = [counts.get(kind, 0) if method in task.costs else None for kind in _FINAL]
            for metric, found in by_metric.items():
                about = (task.task, task.split, method, method in task.controls, metric)
                yield (*about, *astuple(found), task.users, *cost, *refused)


def _pairs(outcome: Outcome) -> Iterator[Sequence[Any]]:
    for task in outcome.tasks:
        for pair in task.pairs:
            about = (task.task, task.split, task.metrics[0], pair.first, pair.second)
            yield (*about, *astuple(pair.difference), pair.p, pair.p_holm)


def _table(header: Sequence[str], rows: Iterator[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(_plain(row) for row in rows)
    return text.getvalue()
