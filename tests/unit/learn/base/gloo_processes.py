"""Training on two processes that talk by gloo, as Ray Train's workers do."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor
from torch.distributed.tensor import DTensor

from hydra_ray.learn.base.parallel import Parallel, Replicated, Sharded
from hydra_ray.learn.base.step import train_step
from hydra_ray.learn.base.trainee import Trainee, optimizer_of
from hydra_ray.settings import BaseSettings

USERS = 4
CPU = torch.device("cpu")


def fresh(base: BaseSettings) -> Trainee:
    torch.manual_seed(0)
    trainee = Trainee(base, USERS)
    # It starts at zero, and gradients of what stands before it would be zeros, too.
    trainee.scorer.heads.shared.out.reset_parameters()
    return trainee


def whole(base: BaseSettings) -> Parallel:
    trainee = fresh(base)
    return Replicated(trainee, trainee)


def spread(base: BaseSettings) -> Parallel:
    trainee = fresh(base)
    if base.sharded:
        return Sharded(trainee)
    # What Ray Train's prepare_model makes of it on CPUs.
    return Replicated(torch.nn.parallel.DistributedDataParallel(trainee), trainee)


def steps(parallel: Parallel, batches: list[list[dict[str, Any]]], base: BaseSettings, optimizer: Any) -> list[float]:
    parallel.model.train()
    return [train_step(parallel, batch, base, optimizer, CPU) for batch in batches]


def _worker(rank: int, port: int, work: Callable, folder: str, arguments: tuple) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        torch.save(work(rank, *arguments), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def on_two(work: Callable, folder: Path, *arguments: Any) -> list[Any]:
    """What `work(rank, *arguments)` returns in each of two processes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    torch.multiprocessing.spawn(_worker, (port, work, str(folder), arguments), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def trained(rank: int, base: BaseSettings, batches: list[list[dict[str, Any]]]) -> tuple[Any, ...]:
    """What a worker that has every other group came to.

    Its losses, whole weights after the steps, and how many numbers of the encoder and of its optimiser state it holds.
    """
    parallel = spread(base)
    optimizer = optimizer_of(parallel.trainee, base)
    losses = steps(parallel, [batch[rank::2] for batch in batches], base, optimizer)
    encoder = list(parallel.trainee.scorer.encoder.parameters())
    moments = [optimizer.state[p]["exp_avg"] for p in encoder if p in optimizer.state]
    return losses, parallel.weights(), sum(map(held, encoder)), sum(map(held, moments))


def held(tensor: Tensor) -> int:
    """Numbers of a tensor that are in this process."""
    return tensor.to_local().numel() if isinstance(tensor, DTensor) else tensor.numel()


def resumed(rank: int, base: BaseSettings, batches: list[list[dict[str, Any]]]) -> dict[str, Tensor]:
    """Whole weights after a checkpoint between the first half of the batches and the second."""
    half = len(batches) // 2
    parallel = spread(base)
    optimizer = optimizer_of(parallel.trainee, base)
    steps(parallel, [batch[rank::2] for batch in batches[:half]], base, optimizer)
    kept = [parallel.weights(), parallel.optimizer_state(optimizer)]
    # The first worker writes the checkpoint, and all read it.
    dist.broadcast_object_list(kept, src=0)
    again = spread(base)
    optimizer = optimizer_of(again.trainee, base)
    again.load(kept[0], optimizer, kept[1])
    steps(again, [batch[rank::2] for batch in batches[half:]], base, optimizer)
    return again.weights()
