"""The runs of one task side by side: every method on every query under every training seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra_ray.evaluate.runs import EvalQuery, Row, RunRecord
from hydra_ray.evaluate.scoring.controls import CONTROLS, HEAD_CONTROLS
from hydra_ray.methods import METHODS, needs_base
from hydra_ray.records import HydraError, Usage, UserKey
from hydra_ray.steps.profiles.profile import Readable
from hydra_ray.tasks import Task

METHOD = "hydra"

# A query under a training seed: (seed, user, query id).
_Place = tuple[int, UserKey, str]


@dataclass(frozen=True, slots=True)
class AlignedRuns:
    """Runs of one task, aligned: an item is one query under one training seed.

    Attributes:
        task: Task as the data defines it.
        split: Split of the data that was evaluated.
        seeds: Training seeds, ascending.
        seed_of: Training seed of each item.
        asked: Query of each item; items are in the order of seed, user and query id.
        rows: One row for each item, by method; None where the method has none.
        besides: Usage of the LLM besides the answers, and the number of requests that it was for, by method.
        read: Items that were compared with others' for profiles, by when the LLM's answer could be read, by method.
        hydra: Run record of hydra by seed, which says how its candidates were chosen.
        smaller: Run records of hydra with a base of fewer training users.
        judged: Scores that the reranker gives history items, each with whether the item helped.
    """

    task: Task
    split: str
    seeds: tuple[int, ...]
    seed_of: tuple[int, ...]
    asked: tuple[EvalQuery, ...]
    rows: Mapping[str, tuple[Row | None, ...]]
    besides: Mapping[str, tuple[Usage, int]]
    read: Mapping[str, Counter[Readable]]
    hydra: Mapping[int, RunRecord]
    smaller: tuple[RunRecord, ...]
    judged: tuple[tuple[float, bool], ...]

    @property
    def users(self) -> list[UserKey]:
        """The user of each item."""
        return [asked.query.user for asked in self.asked]

    @property
    def golds(self) -> list[str]:
        """The user's own answer to each item."""
        return [asked.gold for asked in self.asked]

    def outputs(self, method: str) -> list[str]:
        """Return a method's output for each item; "" where it has no answer."""
        return [row.output if row else "" for row in self.rows[method]]


def align_runs(records: Sequence[RunRecord]) -> AlignedRuns:
    """Align the run records of one task.

    The items are all queries that any method was asked under a seed. A method that does not depend on training may
    have run under one seed only: its rows then stand for the task's other seeds too. The runs of a method with the most
    training users count (0 is for all of them); hydra's others are kept for its curve.

    Args:
        records: Run records of one task; their order does not matter.

    Raises:
        HydraError: Runs are of several splits or of different data, two runs of one method differ though they should
            be the same, or a trained method has no run of some seed.
    """
    task, split = _one_task(records)
    main, smaller = _by_size(records)
    seeds = tuple(sorted({seed for _, seed in main}))
    asked: dict[_Place, EvalQuery] = {}
    # hydra's run goes last: it knows its cohorts, which the others need not.
    for record in sorted(main.values(), key=lambda record: (record.method == METHOD, record.method)):
        asked |= {(record.seed, row.user, row.asked.query.id): row.asked for row in record.rows}
    places = sorted(asked)
    rows: dict[str, tuple[Row | None, ...]] = {}
    besides: dict[str, tuple[Usage, int]] = {}
    read: dict[str, Counter[Readable]] = {}
    for method in sorted({method for method, _ in main}, key=_rank):
        given = {seed: _run(main, method, seed) for seed in seeds}
        found = {(seed, row.user, row.asked.query.id): row for seed, record in given.items() for row in record.rows}
        rows[method] = tuple(found.get(place) for place in places)
        runs = [record for (name, _), record in main.items() if name == method]
        besides[method] = sum((record.beside for record in runs), Usage()), sum(len(record.rows) for record in runs)
        read[method] = sum((Counter(record.read) for record in runs), Counter[Readable]())
    return AlignedRuns(
        task,
        split,
        seeds,
        tuple(seed for seed, _, _ in places),
        tuple(asked[place] for place in places),
        rows,
        besides,
        read,
        {seed: _run(main, METHOD, seed) for seed in seeds if METHOD in rows},
        tuple(record for record in smaller if record.method == METHOD),
        _judged(main),
    )


def _one_task(records: Sequence[RunRecord]) -> tuple[Task, str]:
    first = records[0]
    for record in records:
        if record.split != first.split:
            raise HydraError(
                f'task {first.task.name}: there are runs of the splits "{first.split}" and "{record.split}"; score one '
                "split at a time"
            )
        if (record.task.kind, record.task.labels) != (first.task.kind, first.task.labels):
            raise HydraError(
                f"task {first.task.name}: the run of {record.method} has another kind or other labels than that of "
                f"{first.method}; they are of different data"
            )
    return first.task, first.split


def _by_size(records: Sequence[RunRecord]) -> tuple[dict[tuple[str, int], RunRecord], list[RunRecord]]:
    """Return each method's runs with the most training users by seed, and those with fewer."""
    found: dict[tuple[str, int, float], RunRecord] = {}
    for record in records:
        key = (record.method, record.seed, record.train_users or float("inf"))
        other = found.setdefault(key, record)
        if [row.output for row in other.rows] != [row.output for row in record.rows]:
            raise HydraError(
                f"task {record.task.name}: there are two different runs of {record.method} with seed {record.seed} and "
                f"{record.train_users} training users; leave one out"
            )
    most = {method: max(size for name, _, size in found if name == method) for method, _, _ in found}
    main = {(method, seed): record for (method, seed, size), record in found.items() if size == most[method]}
    smaller = [record for (method, _, size), record in found.items() if size < most[method]]
    return main, smaller


def _run(main: Mapping[tuple[str, int], RunRecord], method: str, seed: int) -> RunRecord:
    """Return the method's run under the seed, or the one that stands for it."""
    if (method, seed) in main:
        return main[method, seed]
    other = min((record for (name, _), record in main.items() if name == method), key=lambda record: record.seed)
    # hydra and its kin are trained whether their runs say by how many users or not.
    if other.train_users or needs_base(method) or method in HEAD_CONTROLS:
        raise HydraError(
            f"task {other.task.name}: {method} has no whole run of seed {seed}, while other runs of that seed are "
            "there; run it or leave that seed out"
        )
    return other


def _rank(method: str) -> tuple[bool, int, str]:
    """Order competitors as the registry has them, others by name, controls last."""
    order = list(CONTROLS if method in CONTROLS else METHODS)
    return (method in CONTROLS, order.index(method) if method in order else len(order), method)


def _judged(main: Mapping[tuple[str, int], RunRecord]) -> tuple[tuple[float, bool], ...]:
    """Return hydra's scores of history items, or those of the first method with any: one reranker, the same scores."""
    having = [record for _, record in sorted(main.items()) if record.judged]
    chosen = METHOD if any(record.method == METHOD for record in having) else (having[0].method if having else "")
    return tuple(pair for record in having if record.method == chosen for pair in record.judged)
