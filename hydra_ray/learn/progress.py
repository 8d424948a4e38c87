"""How far a job is, told by its workers and shown where it was started."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from hydra_ray.learn.heads.pipeline import Shard


@dataclass(slots=True)
class TrainState:
    """Where a run stands.

    Attributes:
        role: Which scorer is being fitted.
        epoch: Its epoch under way, from 0.
        step: Steps done in it.
        loss: Of the last step.
        pids: Process of each worker, by rank.
        entered: Roles and epochs in the order in which the first worker began them: a repeated one was resumed.
        epochs: What the first worker reported of each epoch that was completed.
    """

    role: str = ""
    epoch: int = 0
    step: int = 0
    loss: float = float("nan")
    pids: dict[int, int] = field(default_factory=dict)
    entered: list[tuple[str, int]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)


class Progress:
    """Holds a run's state as a Ray actor; workers tell it and wait for nothing."""

    def __init__(self) -> None:
        self._state = TrainState()

    def enter(self, rank: int, pid: int, role: str, epoch: int) -> None:
        """A worker begins an epoch."""
        self._state.pids[rank] = pid
        if rank == 0:
            self._state.entered.append((role, epoch))
            self._state.role, self._state.epoch, self._state.step = role, epoch, 0

    def step(self, step: int, loss: float) -> None:
        """The first worker has done a step."""
        self._state.step, self._state.loss = step, loss

    def done(self, metrics: dict[str, Any]) -> None:
        """The first worker has completed an epoch."""
        self._state.epochs.append(metrics)

    def state(self) -> TrainState:
        """Where the run stands."""
        return self._state


class EncodeProgress:
    """Holds, as a Ray actor, how much of each shard is encoded; workers tell it and wait for nothing."""

    def __init__(self) -> None:
        self._shares: dict[int, float] = {}

    def encoded(self, place: int, share: float) -> None:
        """A share of a shard's texts is encoded; all where there are none."""
        self._shares[place] = share

    def state(self) -> dict[int, float]:
        """Shares by the shard's place in the plan."""
        return self._shares


class EncodeLines:
    """Shows how many users' texts are encoded, a line of a progress bar for each role that has any.

    Args:
        bar: Where lines are added.
        shards: The plan: users of a role each.
    """

    def __init__(self, bar: Bar, shards: Sequence[Shard]) -> None:
        self._bar, self._shards = bar, shards
        users = Counter[str]()
        for shard in shards:
            users[shard.role] += len(shard.users)
        self._lines = {
            role: bar.add_task(f"Encoding texts for the {role}", total=count, note="users")
            for role, count in users.items()
        }

    def show(self, shares: Mapping[int, float]) -> None:
        """Shares of the shards' texts, by place in the plan."""
        done = dict.fromkeys(self._lines, 0.0)
        for place, share in shares.items():
            shard = self._shards[place]
            done[shard.role] += share * len(shard.users)
        for role, users in done.items():
            self._bar.update(self._lines[role], completed=users)


@contextlib.contextmanager
def watch(progress: Any, show: Callable[[Any], None], every_s: float = 0.5) -> Iterator[None]:
    """Shows the state from a thread for as long as the body runs."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(every_s):
            show(ray.get(progress.state.remote()))

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    # What was told after the last look.
    show(ray.get(progress.state.remote()))
