"""The runs of one task side by side: every method on every query under every training seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra_ray.evaluate.runs import Asked, Dump, Row
from hydra_ray.evaluate.scoring.controls import CONTROLS, HEAD_CONTROLS
from hydra_ray.methods import METHODS, needs_base
from hydra_ray.records import HydraError, Usage, UserKey
from hydra_ray.tasks import Task

METHOD = "hydra"

# A query under a training seed: (seed, user, query id).
_Place = tuple[int, UserKey, str]


@dataclass(frozen=True, slots=True)
class Stack:
    """Runs of one task, aligned: an item is one query under one training seed.

    Attributes:
        task: As the data defines it.
        split: Of the data.
        seeds: Of training, ascending.
        seed_of: Seed of each item.
        asked: Query of each item; items are in the order of seed, user and query id.
        rows: By method, a row an item; None where the method has none.
        besides: By method, what the LLM was asked besides the answers, and for how many requests.
        hydra: hydra's run by seed: how its candidates were chosen.
        smaller: hydra's runs with a base of fewer training users.
        judged: The reranker's scores with whether the item helped.
    """

    task: Task
    split: str
    seeds: tuple[int, ...]
    seed_of: tuple[int, ...]
    asked: tuple[Asked, ...]
    rows: Mapping[str, tuple[Row | None, ...]]
    besides: Mapping[str, tuple[Usage, int]]
    hydra: Mapping[int, Dump]
    smaller: tuple[Dump, ...]
    judged: tuple[tuple[float, bool], ...]

    @property
    def users(self) -> list[UserKey]:
        """Who asked, an item each."""
        return [asked.query.user for asked in self.asked]

    @property
    def golds(self) -> list[str]:
        """The users' own answers, an item each."""
        return [asked.gold for asked in self.asked]

    def outputs(self, method: str) -> list[str]:
        """What a method answered, an item each; "" where it has no answer."""
        return [row.output if row else "" for row in self.rows[method]]


def stack_runs(dumps: Sequence[Dump]) -> Stack:
    """Aligns the runs of one task.

    The items are all queries that any method was asked under a seed. A method that does not depend on training may
    have run under one seed only: its rows then stand for the task's other seeds too. Of a method's runs those with the
    most training users count (0 is for all of them); hydra's others are kept for its curve.

    Args:
        dumps: Of one task; their order does not matter.

    Raises:
        HydraError: Runs are of several splits or of different data, two runs of one method differ though they should
            be the same, or a trained method has no run of some seed.
    """
    task, split = _one_task(dumps)
    main, smaller = _by_size(dumps)
    seeds = tuple(sorted({seed for _, seed in main}))
    asked: dict[_Place, Asked] = {}
    # hydra's run goes last: it knows its cohorts, which the others need not.
    for dump in sorted(main.values(), key=lambda dump: (dump.method == METHOD, dump.method)):
        asked |= {(dump.seed, row.user, row.asked.query.id): row.asked for row in dump.rows}
    places = sorted(asked)
    rows: dict[str, tuple[Row | None, ...]] = {}
    besides: dict[str, tuple[Usage, int]] = {}
    for method in sorted({method for method, _ in main}, key=_rank):
        given = {seed: _run(main, method, seed) for seed in seeds}
        found = {(seed, row.user, row.asked.query.id): row for seed, dump in given.items() for row in dump.rows}
        rows[method] = tuple(found.get(place) for place in places)
        runs = [dump for (name, _), dump in main.items() if name == method]
        besides[method] = sum((dump.beside for dump in runs), Usage()), sum(len(dump.rows) for dump in runs)
    return Stack(
        task,
        split,
        seeds,
        tuple(seed for seed, _, _ in places),
        tuple(asked[place] for place in places),
        rows,
        besides,
        {seed: _run(main, METHOD, seed) for seed in seeds if METHOD in rows},
        tuple(dump for dump in smaller if dump.method == METHOD),
        _judged(main),
    )


def _one_task(dumps: Sequence[Dump]) -> tuple[Task, str]:
    first = dumps[0]
    for dump in dumps:
        if dump.split != first.split:
            raise HydraError(
                f'task {first.task.name}: there are runs of the splits "{first.split}" and "{dump.split}"; score one '
                "split at a time"
            )
        if (dump.task.kind, dump.task.labels) != (first.task.kind, first.task.labels):
            raise HydraError(
                f"task {first.task.name}: the run of {dump.method} has another kind or other labels than that of "
                f"{first.method}; they are of different data"
            )
    return first.task, first.split


def _by_size(dumps: Sequence[Dump]) -> tuple[dict[tuple[str, int], Dump], list[Dump]]:
    """Each method's runs by seed with the most training users, and those with fewer."""
    found: dict[tuple[str, int, float], Dump] = {}
    for dump in dumps:
        key = (dump.method, dump.seed, dump.train_users or float("inf"))
        other = found.setdefault(key, dump)
        if [row.output for row in other.rows] != [row.output for row in dump.rows]:
            raise HydraError(
                f"task {dump.task.name}: there are two different runs of {dump.method} with seed {dump.seed} and "
                f"{dump.train_users} training users; leave one out"
            )
    most = {method: max(size for name, _, size in found if name == method) for method, _, _ in found}
    main = {(method, seed): dump for (method, seed, size), dump in found.items() if size == most[method]}
    smaller = [dump for (method, _, size), dump in found.items() if size < most[method]]
    return main, smaller


def _run(main: Mapping[tuple[str, int], Dump], method: str, seed: int) -> Dump:
    """The method's run of the seed, or the one that stands for it."""
    if (method, seed) in main:
        return main[method, seed]
    other = min((dump for (name, _), dump in main.items() if name == method), key=lambda dump: dump.seed)
    # hydra and its kin are trained whether their runs say by how many users or not.
    if other.train_users or needs_base(method) or method in HEAD_CONTROLS:
        raise HydraError(
            f"task {other.task.name}: {method} has no whole run of seed {seed}, while other runs of that seed are "
            "there; run it or leave that seed out"
        )
    return other


def _rank(method: str) -> tuple[bool, int, str]:
    """Competitors as the registry has them, others by name, controls last."""
    order = list(CONTROLS if method in CONTROLS else METHODS)
    return (method in CONTROLS, order.index(method) if method in order else len(order), method)


def _judged(main: Mapping[tuple[str, int], Dump]) -> tuple[tuple[float, bool], ...]:
    """Of hydra, or else of the first method that has some: methods with the same reranker have the same."""
    having = [dump for _, dump in sorted(main.items()) if dump.judged]
    chosen = METHOD if any(dump.method == METHOD for dump in having) else (having[0].method if having else "")
    return tuple(pair for dump in having if dump.method == chosen for pair in dump.judged)
