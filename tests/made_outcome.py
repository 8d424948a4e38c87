"""Made-up outcomes of comparisons: as many tasks, methods and seeds as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.never_worse import AgainstPlain, AgainstPlainOverTasks, Caution, GateUse
from hydra_ray.evaluate.results import (
    Bin,
    ComparisonResult,
    Cost,
    CurvePoint,
    Headline,
    Pair,
    Slice,
    TaskHeadline,
    TaskResult,
    UserGain,
    WinLoss,
)

CONTROLS = ("shared-head", "other-head", "majority-vote", "random-candidate", "best-candidate")
# How good they are made to be, 0 to 1; others are in the middle.
QUALITY = {
    "zero-shot": 0.1,
    "icl": 0.3,
    "rag": 0.45,
    "pag": 0.4,
    "hydra-reranker": 0.5,
    "hydra-adapter": 0.62,
    "hydra": 0.7,
    "shared-head": 0.6,
    "other-head": 0.55,
    "majority-vote": 0.35,
    "random-candidate": 0.0,
    "best-candidate": 1.0,
}
METHODS = ("zero-shot", "icl", "rag", "pag", "hydra-reranker", "hydra-adapter", "hydra", *CONTROLS)
METRICS = {
    "classification": {"accuracy": True, "macro_f1": True},
    "rating": {"mae": False, "rmse": False},
    "generation": {"rouge_1": True, "rouge_l": True, "bleu": True},
}


def interval(value: float, half: float = 0.04, n: int = 300) -> Interval:
    return Interval(value, value - half, value + half, n)


def made_task(
    name: str = "LaMP_2M",
    kind: str = "classification",
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] = (0, 1, 2),
    users: int = 60,
    seed: int = 0,
    **changed: Any,
) -> TaskResult:
    """One task of which everything is known; `changed` replaces what it is told."""
    rng = np.random.default_rng(seed)
    metrics = METRICS[kind]
    main = next(iter(metrics))

    def value(method: str, metric: str) -> Interval:
        quality = QUALITY.get(method, 0.4) + float(rng.normal(0, 0.03))
        at = 0.4 + 0.25 * (quality if metrics[metric] else -quality)
        scale = 5 if metric == "bleu" else 1
        return interval(scale * at, scale * float(rng.uniform(0.02, 0.04)))

    values = {method: {metric: value(method, metric) for metric in metrics} for method in methods}
    order = sorted(methods, key=lambda method: values[method][main].value, reverse=metrics[main])
    pairs = []
    for place, first in enumerate(order):
        for second in order[place + 1 :]:
            if {first, second} & set(CONTROLS) and "hydra" not in (first, second):
                continue
            gap = abs(values[first][main].value - values[second][main].value)
            p = float(np.exp(-60 * gap))
            pairs.append(Pair(first, second, interval(gap, 0.05), p, min(1.0, 3 * p)))
    worse = {method: float(rng.uniform(0.02, 0.3)) for method in methods}
    whole = {
        "task": name,
        "split": "dev",
        "metrics": tuple(metrics),
        "higher_is_better": metrics,
        "users": users,
        "queries": 100,
        "seeds": tuple(seeds),
        "methods": values,
        "controls": tuple(method for method in methods if method in CONTROLS),
        "by_seed": {
            method: {s: values[method][main].value + float(rng.normal(0, 0.006)) for s in seeds} for method in methods
        },
        "pairs": tuple(pairs),
        "slices": tuple(
            Slice(
                by,
                part,
                people,
                {m: interval(values[m][main].value + float(rng.normal(0.0, 0.03)), 0.07, 40) for m in methods},
            )
            for by, part, people in (
                ("history", "1 to 5", 12),
                ("history", "6 to 20", 25),
                ("history", "21 to 100", 17),
                ("history", "over 100", 6),
                ("cohort", "drama, few items", 31),
                ("cohort", "everyone else", 29),
                ("item", "seen", 44),
                ("item", "unseen", 38),
            )
        ),
        "fates": {m: WinLoss(0.9 - worse[m] - 0.4, 0.4 + 0.1, worse[m]) for m in methods if m != "zero-shot"},
        "costs": {
            m: Cost(
                8.0 if "hydra" in m else 1.0, float(rng.uniform(80, 2400)), float(rng.uniform(3, 200)), 0.42, 0.0, 0.01
            )
            for m in methods
        },
        "gains": tuple(
            UserGain(f"user-{place}", float(gain), 3, int(rng.integers(1, 200)))
            for place, gain in enumerate(np.sort(rng.normal(0.05, 0.12, users)))
        ),
        "calibration": tuple(
            Bin(
                0.05 + 0.1 * place,
                min(1.0, max(0.0, 0.08 + 0.085 * place + float(rng.normal(0, 0.03)))),
                int(rng.integers(5, 900)),
            )
            for place in range(10)
        ),
        "by_candidates": tuple(CurvePoint(x, interval(0.45 + 0.02 * np.log2(x), 0.04)) for x in (1, 2, 4, 8, 16)),
        "by_users": tuple(CurvePoint(x, interval(0.47 + 0.01 * np.log2(x / 25), 0.04)) for x in (30, 50, 100, 200)),
        "missing": {"rag": 3} if "rag" in methods else {},
        "headline": TaskHeadline(Interval(0.091, 0.021, 0.164, 300), {"rag": 4, "icl": 1}, interval(0.41, 0.2)),
    }
    return TaskResult(**{**whole, **changed})


def bare_task(**changed: Any) -> TaskResult:
    """One method, one user, and nothing else known."""
    parts = ("seeds", "controls", "pairs", "slices", "gains", "calibration", "by_candidates", "by_users")
    nothing: dict[str, Any] = dict.fromkeys(parts, ())
    nothing |= {name: {} for name in ("by_seed", "fates", "costs", "missing")}
    return made_task(
        "demo",
        methods=("zero-shot",),
        **{"users": 1, "headline": None, **nothing, **changed},
    )


def made_outcome(*tasks: TaskResult) -> ComparisonResult:
    """The tasks with a headline over them, or one task."""
    return ComparisonResult(
        tasks or (made_task(),), Headline(Interval(0.0873, 0.0312, 0.1405, 900), interval(0.384, 0.11))
    )


def made_against_plain(relative: float = 0.1) -> AgainstPlain:
    """What one method does to users, told so that every number is another."""
    shares = (Interval(value, value - 0.02, value + 0.03, 60) for value in (0.21, 0.12, 0.05))
    return AgainstPlain({"rag-vote": 4, "icl": 1}, interval(0.031), interval(relative), *shares)


def made_gate_use() -> GateUse:
    return GateUse(
        300, Interval(0.345, 0.3, 0.4, 300), {"vote": 150, "hydra": 100, "greedy": 50}, 0.12, interval(0.004, 0.006)
    )


def with_gate(result: ComparisonResult) -> ComparisonResult:
    """The same comparison with the gate's part in it: of its last task hydra's gain is the least."""
    last = len(result.tasks) - 1
    tasks = tuple(
        replace(
            task,
            against_plain={
                "hydra-reranker": made_against_plain(),
                "hydra": made_against_plain(relative=-0.05 if place == last else 0.2),
            },
            gate=made_gate_use(),
        )
        for place, task in enumerate(result.tasks)
    )
    shares = tuple(Interval(value, value - 0.02, value + 0.03, 120) for value in (0.22, 0.13, 0.06))
    over = AgainstPlainOverTasks(
        interval(0.075), *shares, tasks[last].task, tasks[last].against_plain["hydra"].relative
    )
    cost = Caution(Interval(0.008, -0.002, 0.02, 600), Interval(0.09, -0.02, 0.2, 600))
    return replace(result, tasks=tasks, against_plain={"hydra": over}, cost_of_caution=cost)
