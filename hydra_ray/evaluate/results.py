"""Results of methods on one split: metrics with intervals over users, and how they are stored."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra_ray.evaluate.metrics import Array, Metric, metrics_of, prepare
from hydra_ray.evaluate.statistics import Bootstrap, Interval, interval, paired_difference, relative_improvement
from hydra_ray.records import HydraError, UserKey
from hydra_ray.tasks import Task

SCHEMA = "hydra-ray/results/v1"
METHOD = "hydra"
# What an LLM reaches by its prompt alone; hydra's headline is how much better it is than the best of these.
PROMPT_BASELINES = ("zero-shot", "icl", "rag")


@dataclass(frozen=True, slots=True)
class Improvement:
    """How much better a method is than a baseline, as a share of the baseline (0.1 is 10 % better).

    `low` or `high` is None where the interval has no end: the baseline is 0 in too many resamples.
    """

    metric: str
    method: str
    baseline: str
    relative: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Results:
    """What the methods reach on one split of a task.

    Attributes:
        task: The task's name.
        split: The split's name.
        users: Number of users; the intervals are over them.
        methods: Metrics by method, then by metric, the main metric first.
        improvement: hydra against the best prompt-based method; None when either is absent or the baseline is at 0.
        paired: hydra against each other method on the main metric; more than 0 is better for hydra.
        missing: Number of queries without an output, by method, where there are any.
        work: What the methods cost: calls, tokens, failures, degraded answers.
        controls: Methods that are controls and no competitors.
    """

    task: str
    split: str
    users: int
    methods: Mapping[str, Mapping[str, Interval]]
    improvement: Improvement | None = None
    paired: Mapping[str, Interval] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    work: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    controls: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; the keys after `improvement` and `users` are left out when empty."""
        values = asdict(self)
        always = {key: values[key] for key in ("task", "split", "methods", "improvement", "users")}
        extra = {key: values[key] for key in ("paired", "missing", "work") if values[key]}
        return {"schema": SCHEMA, **always, **extra, **({"controls": list(self.controls)} if self.controls else {})}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Results:
        """The inverse of `to_json`.

        Raises:
            HydraError: The values follow another schema.
        """
        if values.get("schema") != SCHEMA:
            raise HydraError(f'results: the schema is "{values.get("schema")}", this version reads "{SCHEMA}"')
        improvement = values["improvement"]
        return cls(
            task=values["task"],
            split=values["split"],
            users=values["users"],
            methods={method: _intervals(metrics) for method, metrics in values["methods"].items()},
            improvement=Improvement(**improvement) if improvement else None,
            paired=_intervals(values.get("paired", {})),
            missing=values.get("missing", {}),
            work=values.get("work", {}),
            controls=tuple(values.get("controls", ())),
        )


def score_methods(
    task: Task,
    split: str,
    outputs: Mapping[str, Mapping[str, str]],
    golds: Mapping[str, str],
    users: Mapping[str, UserKey],
    *,
    controls: Collection[str] = (),
    work: Mapping[str, Mapping[str, Any]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Results:
    """Scores each method's outputs on the queries that have a gold answer.

    Args:
        task: The task as the data defines it.
        split: The split's name.
        outputs: Output by method, then by query id; a query without one counts as wrong, and in `missing`.
        golds: Gold answer by query id.
        users: User by query id.
        controls: Names of methods that are controls; those without outputs are ignored.
        work: What each method cost, stored as given.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Raises:
        HydraError: There are no gold answers, or the task lacks its labels.
    """
    if not golds:
        raise HydraError(f'{task.name}: split "{split}" has no gold answers to score against')
    metrics = metrics_of(task.kind)
    bootstrap = Bootstrap([users[query_id] for query_id in golds], resamples, seed)
    values: dict[str, dict[str, Array]] = {}
    for method, answers in outputs.items():
        given = [answers.get(query_id, "") for query_id in golds]
        sums = bootstrap.sums(prepare(task, given, list(golds.values())))
        values[method] = {metric.name: metric.value(sums) for metric in metrics}
    main = {method: by_metric[metrics[0].name] for method, by_metric in values.items()}
    missing = {
        method: sum(not answers.get(query_id, "").strip() for query_id in golds) for method, answers in outputs.items()
    }
    return Results(
        task=task.name,
        split=split,
        users=bootstrap.users,
        methods={
            method: {name: interval(value, len(golds)) for name, value in by_metric.items()}
            for method, by_metric in values.items()
        },
        improvement=_improvement(metrics[0], main),
        paired=_paired(metrics[0], main, len(golds)),
        missing={method: count for method, count in missing.items() if count},
        work=work or {},
        controls=tuple(method for method in outputs if method in controls),
    )


def write_results(
    directory: Path, results: Results, outputs: Mapping[str, Mapping[str, str]], users: Mapping[str, UserKey]
) -> None:
    """Writes `results.json` and `predictions.jsonl`, each as a whole or not at all.

    Args:
        directory: Made when it does not exist; files of an earlier run are replaced.
        results: What `score_methods` gives.
        outputs: Output by method, then by query id; a missing output is written as an empty one.
        users: User by query id; its order is that of the predictions within a method.
    """
    # Both are serialised before either is replaced: a failure leaves an earlier run's pair as it is.
    texts = {
        "results.json": json.dumps(results.to_json(), indent=2, allow_nan=False) + "\n",
        "predictions.jsonl": "".join(json.dumps(line) + "\n" for line in _predictions(outputs, users)),
    }
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        _replace(directory / name, text)


def _improvement(metric: Metric, values: Mapping[str, Array]) -> Improvement | None:
    baselines = [method for method in PROMPT_BASELINES if method in values]
    if METHOD not in values or not baselines:
        return None
    sign = 1 if metric.higher_is_better else -1
    best = max(baselines, key=lambda method: sign * values[method][0])
    if values[best][0] == 0:
        return None
    relative = interval(relative_improvement(values[METHOD], values[best], metric.higher_is_better), n=0)
    low, high = (end if math.isfinite(end) else None for end in (relative.low, relative.high))
    return Improvement(metric.name, METHOD, best, relative.value, low, high)


def _paired(metric: Metric, values: Mapping[str, Array], n: int) -> dict[str, Interval]:
    if METHOD not in values:
        return {}
    return {
        method: paired_difference(values[METHOD], other, n, metric.higher_is_better)
        for method, other in values.items()
        if method != METHOD
    }


def _intervals(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Interval]:
    return {name: Interval(**value) for name, value in values.items()}


def _predictions(outputs: Mapping[str, Mapping[str, str]], users: Mapping[str, UserKey]) -> Iterator[dict[str, str]]:
    for method in sorted(outputs):
        for query_id, key in users.items():
            output = outputs[method].get(query_id, "")
            yield {"id": query_id, "user_id": key.user, "method": method, "output": output}


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
