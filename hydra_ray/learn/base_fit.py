"""Fits the shared base with Ray Train: one run a role."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.train
from ray.train.torch import TorchTrainer
from safetensors.torch import load_file

from hydra_ray.learn.cluster import cores_of_a_node
from hydra_ray.learn.groups import Group
from hydra_ray.learn.loop import GROUP_SCHEMA, LoopConfig, Trainee, group_rows, train_worker
from hydra_ray.learn.progress import Progress, TrainState, watch
from hydra_ray.models.scorer import Head, Scorer
from hydra_ray.records import HydraError, UserKey
from hydra_ray.settings import BaseSettings
from hydra_ray.steps.seeds import stable_seed

_VALID_SHARE = 0.08

# On CPUs training spends up to half its time in page faults of freed tensors; these keep the pages.
_WORKER_ENV = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads that wait by spinning take the cores from the processes that feed them.
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass(frozen=True, slots=True)
class FittedRole:
    """A scorer, the heads of the training users, and how the run went."""

    scorer: Scorer
    heads: dict[UserKey, Head]
    state: TrainState


def fit_role(
    role: str,
    groups: Sequence[Group],
    base: BaseSettings,
    *,
    seed: int,
    storage: Path,
    show: Callable[[TrainState, int], None],
) -> FittedRole:
    """Fits one role's scorer on the training users' groups.

    A lost worker costs the epoch under way, and the one before it if Ray Train had not yet taken in its
    checkpoint (it asks every two seconds). The run is named after its data and settings, so that Ray Train
    finds the checkpoints of an earlier try in `storage`.

    Args:
        role: Names the run.
        groups: At least one.
        base: Settings.
        seed: Of initial heads, shuffling and drops.
        storage: Folder for checkpoints; on a cluster one that every node sees.
        show: Told the state and the number of steps an epoch has.

    Raises:
        HydraError: There is nothing to learn from, or the workers failed too often.
    """
    check_enough(role, groups, base)
    users = sorted({group.user for group in groups})
    rows = group_rows(groups, users)
    train, valid = _hold_back(rows, seed)
    steps = -(-(len(train) // base.workers) // base.batch_groups)
    config = LoopConfig(base.model_dump(), len(users), steps, seed, valid)
    name = f"{role}-{_fingerprint(config, train)}"
    progress = ray.remote(num_cpus=0)(Progress).remote()
    trainer = TorchTrainer(
        _run_worker,
        train_loop_config={"config": config, "progress": progress},
        scaling_config=ray.train.ScalingConfig(
            num_workers=base.workers, use_gpu=base.gpu, resources_per_worker=_resources(base)
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(storage.resolve()),
            failure_config=ray.train.FailureConfig(max_failures=base.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": _WORKER_ENV},
        ),
        datasets={"train": ray.data.from_arrow(pa.Table.from_pylist(train, schema=GROUP_SCHEMA))},
    )
    try:
        with watch(progress, lambda state: show(state, steps)):
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise HydraError(f"{role}: training failed {base.max_failures + 1} time(s); the last error: {error}") from error
    state = ray.get(progress.state.remote())
    trainee = Trainee(base, len(users))
    with result.checkpoint.as_directory() as folder:
        trainee.load_state_dict(load_file(Path(folder) / "trainee.safetensors"))
    trainee.eval()
    heads = {key: trainee.bank.row(row) for row, key in enumerate(users)}
    shutil.rmtree(storage / name, ignore_errors=True)
    return FittedRole(trainee.scorer, heads, state)


def check_enough(role: str, groups: Sequence[Group], base: BaseSettings) -> None:
    """Refuses to start workers that would have nothing to learn from.

    Raises:
        HydraError: There are fewer groups than workers.
    """
    if len(groups) < base.workers:
        raise HydraError(f"{role}: {len(groups)} training group(s) for {base.workers} worker(s); collect more feedback")


def _run_worker(config: dict[str, Any]) -> None:
    train_worker(config["config"], config["progress"])


def _hold_back(rows: list[dict[str, Any]], seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    order = sorted(range(len(rows)), key=lambda i: stable_seed(seed, i))
    held = set(order[: int(_VALID_SHARE * len(rows))])
    # Shuffled here, once for all: a worker shuffles only within its buffer.
    train = [rows[i] for i in reversed(order) if i not in held]
    return train, [rows[i] for i in order if i in held]


def _resources(base: BaseSettings) -> dict[str, float]:
    # One machine's cores are shared out: Ray gives a worker as many threads as it has CPUs.
    each = 1 if base.gpu else max(1, cores_of_a_node() // base.workers)
    return {"CPU": float(each), "GPU": 1.0} if base.gpu else {"CPU": float(each)}


def _fingerprint(config: LoopConfig, train: list[dict[str, Any]]) -> str:
    told = json.dumps([asdict(config), train], sort_keys=True).encode()
    return blake2b(told, digest_size=6).hexdigest()
