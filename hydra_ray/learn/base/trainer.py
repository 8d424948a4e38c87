"""Fits the shared base with Ray Train."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.train
from pyarrow import fs
from ray.train.torch import TorchTrainer
from safetensors.torch import load_file

from hydra_ray.data.sources.files import locate, one_line
from hydra_ray.fingerprint import fingerprint
from hydra_ray.learn.base.progress import Progress, TrainState
from hydra_ray.learn.base.rows import GROUP_SCHEMA, group_rows, hold_back, read_beside
from hydra_ray.learn.base.start import start_of
from hydra_ray.learn.base.trainee import Trainee
from hydra_ray.learn.base.worker import LoopConfig, RolePlan, train_worker, trained_in
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.models.heads import HEAD_KINDS, Head
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import HydraError, UserKey
from hydra_ray.runtime.cluster import cores_of_a_node, on_this_node
from hydra_ray.runtime.progress import watch
from hydra_ray.runtime.threads import PASSIVE_WAITS
from hydra_ray.settings import BaseSettings

log = logging.getLogger(__name__)

# On CPUs training spends up to half its time in page faults of freed tensors; these keep the pages.
_WORKER_ENV = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
    "TOKENIZERS_PARALLELISM": "false",
    **PASSIVE_WAITS,
}


@dataclass(frozen=True, slots=True)
class FittedRole:
    """A scorer and the heads of the training users."""

    scorer: Scorer
    heads: dict[UserKey, Head]


@dataclass(frozen=True, slots=True)
class FittedBase:
    """The fitted roles, and how the run went."""

    roles: dict[str, FittedRole]
    state: TrainState


def fit_base(
    groups: Mapping[str, Sequence[RankingGroup]],
    base: BaseSettings,
    *,
    prior_weights: Mapping[str, float | None],
    seed: int,
    storage: str | Path,
    show: Callable[[TrainState, Mapping[str, int]], None],
) -> FittedBase:
    """Fits a scorer for each role on the training users' groups, one role after the other by the same workers.

    A lost worker costs the epoch under way, and the one before it if Ray Train had not yet taken in its
    checkpoint (it asks every two seconds). The run is named after its data and settings, so that Ray Train
    finds the checkpoints of an earlier try in `storage`.

    Args:
        groups: Groups by role; at least one a worker for each.
        base: Settings of the base.
        prior_weights: Weight, by role, of what is known before a head scores; None has it learnt.
        seed: Seed of initial heads, shuffling and drops.
        storage: Folder for checkpoints, or its URI; on a cluster one that every node sees.
        show: Called with the state and the number of steps that an epoch of each role has.

    Raises:
        HydraError: There is nothing to learn from, the storage cannot be written, or the workers failed too often.
    """
    for role in groups:
        check_enough(role, groups[role], base)
    filesystem, folder = _made(storage)
    users = {role: sorted({group.user for group in groups[role]}) for role in groups}
    beside = {role: read_beside(groups[role], base) for role in groups}
    split = {role: hold_back(group_rows(groups[role], users[role], beside[role]), seed) for role in groups}
    train = {role: rows for role, (rows, _) in split.items()}
    steps = {role: -(-(len(rows) // base.workers) // base.batch_groups) for role, rows in train.items()}
    plans = tuple(
        RolePlan(
            role,
            len(users[role]),
            prior_weights[role],
            steps[role],
            valid,
            beside[role],
            start_of(role, rows, base, beside[role], prior_weights[role]),
        )
        for role, (rows, valid) in split.items()
    )
    # Where checkpoints are changes nothing of what they hold.
    config = LoopConfig(base.model_dump(exclude={"checkpoints"}), seed, plans)
    name = f"base-{fingerprint(_known_by(config), train, size=6, sort_keys=True)}"
    progress = ray.remote(num_cpus=0, **on_this_node())(Progress).remote()
    trainer = _Trainer(
        _run_worker,
        train_loop_config={"config": config, "progress": progress},
        scaling_config=ray.train.ScalingConfig(
            num_workers=base.workers, use_gpu=base.gpu, resources_per_worker=_resources(base)
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=folder,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=base.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": _WORKER_ENV},
        ),
        datasets={
            role: ray.data.from_arrow(pa.Table.from_pylist(rows, schema=GROUP_SCHEMA)) for role, rows in train.items()
        },
    )
    try:
        with watch(progress, lambda state: show(state, steps)):
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise HydraError(f"training failed {base.max_failures + 1} time(s); the last error: {error}") from error
    with result.checkpoint.as_directory() as checkpoint:
        fitted = {role: _load_role(Path(checkpoint), role, base, users[role], beside[role]) for role in groups}
    try:
        filesystem.delete_dir(f"{folder}/{name}")
    except OSError as error:
        # They take room, and nobody reads them again: the next training has another name.
        log.warning("the checkpoints in %s/%s stay: %s", folder, name, one_line(error))
    return FittedBase(fitted, ray.get(progress.state.remote()))


def _known_by(config: LoopConfig) -> dict[str, Any]:
    """Return what a training is known by: one that was begun before there were all of these settings goes on."""
    about = asdict(config)
    for plan in about["plans"]:
        for name in ("beside", "start"):
            if not plan[name]:
                del plan[name]
    return about


def _made(storage: str | Path) -> tuple[fs.FileSystem, str]:
    """Return the file system of a place for checkpoints and its path there, once it can be written."""
    try:
        filesystem, folder = locate(storage)
    except HydraError as error:
        raise HydraError(f"base.checkpoints: {error}") from None
    if isinstance(filesystem, fs.LocalFileSystem):
        # Workers may have another working folder.
        folder = str(Path(folder).resolve())
    try:
        filesystem.create_dir(folder)
    except OSError as error:
        raise HydraError(f"base.checkpoints: {folder} cannot be written: {one_line(error)}") from error
    return filesystem, folder


class _Trainer(TorchTrainer):
    def _register_sigint_handler(self, controller: Any) -> None:
        """Ctrl-C stays the command's: Ray's handler would stay after the training and end with exit code 0."""


def _load_role(
    checkpoint: Path, role: str, base: BaseSettings, users: Sequence[UserKey], beside: Sequence[str]
) -> FittedRole:
    trainee = Trainee(base, len(users), beside=beside)
    trainee.load_state_dict(load_file(checkpoint / f"{role}.safetensors"))
    trainee.eval()
    # Workers may have had other processors than this process has.
    trainee.scorer.trained_in = trained_in(checkpoint)
    log.info("the %s was trained in %s", role, trainee.scorer.trained_in)
    heads = HEAD_KINDS[base.head.kind].apart(dict(trainee.bank.heads.items()))
    return FittedRole(trainee.scorer, dict(zip(users, heads, strict=True)))


def check_enough(role: str, groups: Sequence[RankingGroup], base: BaseSettings) -> None:
    """Refuses to start workers that would have nothing to learn from.

    Raises:
        HydraError: There are fewer groups than workers.
    """
    if len(groups) < base.workers:
        raise HydraError(
            f"{role}: {len(groups)} training group(s) for base.workers {base.workers}: a query teaches where some of "
            "its answers or items are better than others. Raise feedback.pseudo_queries, feedback.items or "
            "data.max_users, and collect for users=train again. But where no query teaches, look at the answers in "
            "feedback.dir first: more calls bring more of the same"
        )


def _run_worker(config: dict[str, Any]) -> None:
    train_worker(config["config"], config["progress"])


def _resources(base: BaseSettings) -> dict[str, float]:
    # One machine's cores are shared out: Ray gives a worker as many threads as it has CPUs.
    each = 1 if base.gpu else max(1, cores_of_a_node() // base.workers)
    return {"CPU": float(each), "GPU": 1.0} if base.gpu else {"CPU": float(each)}
