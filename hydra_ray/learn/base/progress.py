"""State of a training run, held by an actor that its workers report to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class TrainState:
    """State of a training run, as its workers last told it.

    Attributes:
        role: Role of the scorer that is being fitted.
        epoch: Epoch of that scorer under way, from 0.
        step: Steps done in it.
        loss: Loss of the last step; NaN before the first.
        pids: Process of each worker, by rank.
        entered: Roles and epochs in the order in which the first worker began them: a repeated one was resumed.
        epochs: Report of the first worker on each epoch that was completed.
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
        """Notes that the first worker has done a step."""
        self._state.step, self._state.loss = step, loss

    def done(self, metrics: dict[str, Any]) -> None:
        """Notes that the first worker has completed an epoch."""
        self._state.epochs.append(metrics)

    def state(self) -> TrainState:
        """Return the state of the run."""
        return self._state
