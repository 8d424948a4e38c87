"""Results of a cross-validation as tables and as `results.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from hydra_ray.atomic import write_text
from hydra_ray.bootstrap import Interval
from hydra_ray.evaluate.crossval.result import TaskValidation, Validation
from hydra_ray.evaluate.crossval.score import BEST_PLAIN
from hydra_ray.evaluate.never_worse import AgainstPlain
from hydra_ray.evaluate.reporting.formatting import number, percent, probability, signed

RESULTS = "results.json"


def write_validation(out: Path, validation: Validation) -> None:
    """Write `results.json`; ends of intervals that are no number are null.

    Args:
        out: Folder of it.
        validation: What is written.
    """
    write_text(out / RESULTS, json.dumps(_finite(asdict(validation)), indent=1, ensure_ascii=False) + "\n")


def validation_tables(validation: Validation) -> Iterator[Table]:
    """Yield, for each task, answers' scores, what recipes gain and what gates make of it; then means over tasks."""
    for task in validation.tasks:
        yield _scores(task)
        yield _gains(task)
        yield _gates(task)
    if len(validation.tasks) > 1 and validation.overall:
        table = Table("recipe", "relative improvement", "oracle gap closed", title="Mean over tasks of equal weight")
        for name, mean in validation.overall.items():
            table.add_row(name, _share(mean.relative), _share(mean.oracle_gap))
        yield table


def _scores(task: TaskValidation) -> Table:
    main = task.metrics[0]
    better = "more" if task.higher_is_better[main] else "less"
    table = Table(
        "method",
        f"{main} ({better} is better)",
        "LLM answers",
        title=f"{task.task}: {task.users} users, {task.queries} queries, {task.repeats} repeats of the folds",
    )
    for name, value in task.plain.items():
        table.add_row(name, _value(value, main), str(task.plain_samples.get(name, 0)))
    table.add_row(f"{BEST_PLAIN}, chosen on other users", _value(task.best_plain, main), "", end_section=True)
    for name, result in task.recipes.items():
        table.add_row(name, _value(result.metrics[main], main), str(result.samples))
        for control, value in result.controls.items():
            table.add_row(f"  {control}", _value(value, main), "")
    return table


def _gains(task: TaskValidation) -> Table:
    table = Table(
        "recipe",
        "relative improvement",
        "oracle gap closed",
        "gain over",
        "gain",
        "p",
        "users worse",
        "seconds",
        title=f"{task.task}: gains, paired; p is not corrected",
    )
    first = next(iter(task.recipes))
    shown = (BEST_PLAIN, "shared-head", "other-head", "majority-vote", first)
    for name, result in task.recipes.items():
        lead = [name, _share(result.relative), _share(result.oracle_gap)]
        tail = [percent(result.against_plain.worse.value), f"{task.seconds[name]:.0f}"]
        for one in result.differences:
            if one.to in shown:
                table.add_row(*lead, one.to, _gain(one.gain), probability(one.p), *tail)
                lead, tail = ["", "", ""], ["", ""]
        table.add_section()
    return table


def _gates(task: TaskValidation) -> Table:
    main = task.metrics[0]
    table = Table(
        "recipe with its gate",
        main,
        "plain answers it can give",
        "gain over these",
        "relative improvement",
        f"gain over {BEST_PLAIN}",
        "gain over no gate",
        "users worse: measured, expected",
        "without gate",
        "choice differs",
        "choice given",
        "gate closed",
        title=f"{task.task}: gates fitted on other users, which give plain answers where the choice may be worse",
    )
    for name, result in task.recipes.items():
        gated = result.gated
        table.add_row(
            name,
            _value(gated.metrics[main], main),
            _value(gated.plain, main),
            _gain(gated.over_plain.gain),
            _share(gated.against_plain.relative),
            _gain(gated.against_plain.gain),
            _gain(gated.over_ungated.gain),
            _worse(gated.against_plain),
            _worse(result.against_plain),
            percent(gated.differs),
            percent(gated.passes),
            percent(gated.closed),
        )
    return table


def _worse(users: AgainstPlain) -> str:
    return f"{percent(users.worse.value)}, {percent(users.expected_worse.value)}"


def _gain(gain: Interval) -> str:
    return f"{signed(gain.value)} [{signed(gain.low)}, {signed(gain.high)}]"


def _value(value: Interval, metric: str) -> str:
    return f"{number(value.value, metric)} [{number(value.low, metric)}, {number(value.high, metric)}]"


def _share(share: Interval | None) -> str:
    return "" if share is None else f"{percent(share.value)} [{percent(share.low)}, {percent(share.high)}]"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
