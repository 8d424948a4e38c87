"""Epochs of a training: its optimiser, its rates and its chance, wherever its batches come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from hydra_ray.learn.base.parallel import Parallel
from hydra_ray.learn.base.step import train_step
from hydra_ray.learn.base.trainee import optimizer_of
from hydra_ray.settings import BaseSettings


class Epochs:
    """Trains one role, epoch by epoch.

    Args:
        parallel: What is trained, on its device.
        base: Settings of the base.
        steps: Batches of an epoch.
        seed: Seed of drops.
        device: Device that batches are computed on.

    Attributes:
        optimizer: Optimiser of all that is trained.
        schedule: Rates of it: up over a tenth of all steps, then down to nothing.
    """

    def __init__(self, parallel: Parallel, base: BaseSettings, steps: int, seed: int, device: torch.device) -> None:
        self._parallel, self._base, self._seed, self._device = parallel, base, seed, device
        total = base.epochs * steps
        self.optimizer = optimizer_of(parallel.trainee, base)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: _warm_then_linear(step, total))

    def train(self, epoch: int, rank: int, batches: Iterable[Sequence[dict[str, Any]]]) -> Iterator[float]:
        """Train on batches of group rows, and yield the loss before each step.

        Args:
            epoch: Number of the epoch, from 0.
            rank: Number of the worker, from 0.
            batches: Batches of this worker.
        """
        torch.manual_seed(self._seed * 1009 + epoch * 101 + rank)
        self._parallel.model.train()
        for batch in batches:
            yield train_step(self._parallel, batch, self._base, self.optimizer, self._device)
            self.schedule.step()


def _warm_then_linear(step: int, total: int) -> float:
    warm = max(1, total // 10)
    return (step + 1) / warm if step < warm else max(0.0, (total - step) / max(1, total - warm))
