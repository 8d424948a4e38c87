"""The work of each Ray Train worker: it fits encoder, shared head and the training users' heads together."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from ray.train.collective import broadcast_from_rank_zero
from safetensors.torch import load_file, save_file
from torch import Tensor

from hydra_ray.learn.base.epochs import Epochs
from hydra_ray.learn.base.parallel import Parallel, Replicated, Sharded
from hydra_ray.learn.base.step import collate
from hydra_ray.learn.base.trainee import Trainee
from hydra_ray.models.heads.bank import NO_USER
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.settings import BaseSettings


@dataclass(frozen=True, slots=True)
class RolePlan:
    """Plan of the training of one role.

    Attributes:
        role: Reranker or adapter; the name of its data set, too.
        users: Number of training users.
        prior_weight: Weight of what is known before a head scores; None has it learnt.
        steps_per_epoch: Batches a worker and epoch.
        valid: Groups held back, which the first worker scores after each epoch.
        beside: Names of the numbers beside texts that are read, in their order in the rows.
        start: Weights that single numbers and the prior start at; empty is as the models have them.
    """

    role: str
    users: int
    prior_weight: float | None
    steps_per_epoch: int
    valid: Sequence[dict[str, Any]]
    beside: tuple[str, ...]
    start: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """Plan of a training, as every worker gets it.

    Attributes:
        base: Settings of the base, as plain values.
        seed: Seed of initial heads, user drop and shuffling.
        plans: Roles, fitted one after the other by the same workers: starting workers takes longer than
            many a role does.
    """

    base: dict[str, Any]
    seed: int
    plans: tuple[RolePlan, ...]


@dataclass(slots=True)
class _Resumed:
    """Content of a checkpoint: weights of finished roles, and of the one under way with its optimiser.

    Attributes:
        done: Weights by role.
        role: Role under way.
        epoch: The last epoch that was completed.
        optimizer: State of the optimiser.
        schedule: State of the learning-rate schedule.
        precision: Precision that the last epoch was computed in, float32 or bfloat16.
    """

    done: dict[str, dict[str, Tensor]]
    role: str = ""
    epoch: int = -1
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    precision: str = ""


def train_worker(config: LoopConfig, progress: Any) -> None:
    """Runs in every worker; goes on from the last checkpoint where there is one.

    Args:
        config: Plan of the training.
        progress: Handle of a `learn.base.progress.Progress` actor.
    """
    use_given_cpus()
    base = _in_agreed_precision(BaseSettings.model_validate(config.base))
    resumed = _last_checkpoint()
    for plan in config.plans:
        if plan.role in resumed.done and plan.role != resumed.role:
            continue
        _train_role(plan, base, config.seed, resumed, progress)


def _in_agreed_precision(base: BaseSettings) -> BaseSettings:
    """The settings with the arithmetic that suits the first worker, so that all workers compute alike."""
    first = ray.train.get_context().get_world_rank() == 0
    precision = base.encoder.computing.arithmetic(ray.train.torch.get_device().type) if first else None
    precision = broadcast_from_rank_zero(precision)
    return base.model_copy(update={"encoder": base.encoder.model_copy(update={"precision": precision})})


def _train_role(plan: RolePlan, base: BaseSettings, seed: int, resumed: _Resumed, progress: Any) -> None:
    rank = ray.train.get_context().get_world_rank()
    torch.manual_seed(seed)
    trainee = Trainee(base, plan.users, plan.prior_weight, beside=plan.beside, starts_at=plan.start)
    parallel = _spread(trainee, base)
    epochs = Epochs(parallel, base, plan.steps_per_epoch, seed, ray.train.torch.get_device())
    start = 0
    if resumed.role == plan.role:
        parallel.load(resumed.done[plan.role], epochs.optimizer, resumed.optimizer)
        epochs.schedule.load_state_dict(resumed.schedule)
        start = resumed.epoch + 1
    shard = ray.train.get_dataset_shard(plan.role)
    for epoch in range(start, base.epochs):
        progress.enter.remote(rank, os.getpid(), plan.role, epoch)
        losses = []
        for loss in epochs.train(epoch, rank, _batches(shard, base.batch_groups, seed + epoch)):
            losses.append(loss)
            if rank == 0:
                progress.step.remote(len(losses), loss)
        metrics = {"role": plan.role, "epoch": epoch, "started_at_epoch": start, "loss": float(np.mean(losses))}
        if rank == 0 or parallel.judged_by_all:
            metrics |= _judge(trainee, plan.valid, base.batch_groups)
            weights, moments = parallel.weights(), parallel.optimizer_state(epochs.optimizer)
        if rank == 0:
            resumed.done[plan.role] = weights
            metrics["precision"] = base.encoder.precision
            _report_with_checkpoint(resumed.done, moments, epochs.schedule, metrics)
            ray.get(progress.done.remote(metrics))
        else:
            ray.train.report(metrics)


def _spread(trainee: Trainee, base: BaseSettings) -> Parallel:
    if not base.sharded:
        return Replicated(ray.train.torch.prepare_model(trainee), trainee)
    trainee.to(ray.train.torch.get_device())
    return Sharded(trainee)


def _batches(shard: Any, groups: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    for table in shard.iter_batches(
        batch_size=groups,
        batch_format="pyarrow",
        local_shuffle_buffer_size=64 * groups,
        local_shuffle_seed=seed,
    ):
        yield table.to_pylist()


def _report_with_checkpoint(
    weights: dict[str, dict[str, Tensor]], optimizer: dict[str, Any], schedule: Any, metrics: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for role, state in weights.items():
            save_file(state, Path(folder) / f"{role}.safetensors")
        under_way = {
            "role": metrics["role"],
            "epoch": metrics["epoch"],
            "optimizer": optimizer,
            "schedule": schedule.state_dict(),
            "precision": metrics["precision"],
        }
        torch.save(under_way, Path(folder) / "under_way.pt")
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _last_checkpoint() -> _Resumed:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return _Resumed({})
    with checkpoint.as_directory() as folder:
        done = {path.stem: load_file(path) for path in Path(folder).glob("*.safetensors")}
        return _Resumed(done, **_under_way(Path(folder)))


def _under_way(folder: Path) -> dict[str, Any]:
    rows: dict[str, Any] = torch.load(folder / "under_way.pt", weights_only=True)
    return rows


def trained_in(checkpoint: Path) -> str:
    """Return the precision of a checkpoint's last epoch: float32 or bfloat16."""
    return str(_under_way(checkpoint)["precision"])


@torch.no_grad()
def _judge(trainee: Trainee, valid: Sequence[dict[str, Any]], batch_groups: int) -> dict[str, float]:
    """Share of held-back groups whose top decision is one of the best, under the users' heads and the shared one."""
    if not valid:
        return {}
    trainee.eval()
    device = ray.train.torch.get_device()
    right = {"valid_top1": 0, "valid_top1_shared": 0}
    for start in range(0, len(valid), batch_groups):
        rows = valid[start : start + batch_groups]
        tokens, users, scores, group = collate(trainee.scorer.encoder, rows, device)
        for name, whose in (("valid_top1", users), ("valid_top1_shared", torch.full_like(users, NO_USER))):
            logits = trainee(tokens, whose)
            for number in range(len(rows)):
                mine = group == number
                right[name] += int(scores[mine][logits[mine].argmax()] == scores[mine].max())
    return {name: count / len(valid) for name, count in right.items()}
