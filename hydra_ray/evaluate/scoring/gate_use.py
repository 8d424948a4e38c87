"""What hydra's gate decided on a task, and what its caution cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from hydra_ray.bootstrap import interval
from hydra_ray.evaluate.never_worse import Caution, GateUse
from hydra_ray.evaluate.scoring.against_plain import PlainRows
from hydra_ray.evaluate.scoring.align import METHOD
from hydra_ray.evaluate.scoring.metrics import Array
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard
from hydra_ray.steps.gating import HYDRA

UNGATED = "hydra-ungated"


def gate_use(scoreboard: Scoreboard) -> GateUse | None:
    """Return what the gate decided; None without hydra, or where no gate was asked."""
    rows = scoreboard.aligned.rows.get(METHOD, ())
    decisions = [row.answer.gate if row is not None and row.answer is not None else None for row in rows]
    answered = Counter(decision.answered for decision in decisions if decision is not None)
    if not answered:
        return None
    counts = np.array(
        [[decision is not None, decision is not None and decision.answered == HYDRA] for decision in decisions], float
    )
    sums = scoreboard.bootstrap.sums(counts)
    # A resample without anybody whom the gate was asked for says nothing.
    with np.errstate(invalid="ignore"):
        passed = interval(sums[:, 1] / sums[:, 0], answered.total())
    held_back, cost = None, None
    if UNGATED in scoreboard.outputs:
        pairs = list(zip(scoreboard.outputs[METHOD], scoreboard.outputs[UNGATED], strict=True))
        held_back = sum(own != other for own, other in pairs) / len(pairs)
        cost = interval(scoreboard.better_by(UNGATED, METHOD), len(pairs))
    # Not the counter itself: `asdict` makes a counter of pairs out of one.
    return GateUse(answered.total(), passed, dict(answered.most_common()), held_back, cost)


def caution(rows: Sequence[PlainRows]) -> Caution | None:
    """Return what the caution costs over the tasks that tell of both hydra and hydra-ungated; None without any.

    Args:
        rows: Parts of all tasks and methods.
    """
    by_task: dict[str, dict[str, Array]] = {}
    for one in rows:
        if one.method in (METHOD, UNGATED) and one.relative is not None:
            by_task.setdefault(one.task, {})[one.method] = one.relative
    both = [found for found in by_task.values() if len(found) == 2]
    if not both:
        return None
    items = sum(one.items for one in rows if one.method == METHOD and len(by_task.get(one.task, ())) == 2)
    # Infinities have no difference: such a resample is left out of the interval.
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = np.mean([found[UNGATED] for found in both], axis=0)
        cost = gain - np.mean([found[METHOD] for found in both], axis=0)
        share = interval(cost / gain, items) if interval(gain, items).low > 0 else None
    return Caution(interval(cost, items), share)
