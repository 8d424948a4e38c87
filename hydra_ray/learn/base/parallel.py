"""How a trainee is spread over the workers: a whole one in each, or its encoder in shares."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from hydra_ray.learn.base.trainee import Trainee

# Whole tensors in the memory of the first worker's processor, whoever holds which share.
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Parallel(ABC):
    """A trainee, spread over the workers.

    Attributes:
        model: What is called: it scores as `Trainee.forward` does.
        trainee: The same, with its parts.
        judged_by_all: Whether every worker has to score what is held back, since none can alone.
    """

    judged_by_all = False

    model: nn.Module
    trainee: Trainee

    @abstractmethod
    def adding_up(self, more: bool) -> contextlib.AbstractContextManager[Any]:
        """Hold off the exchange of gradients within the body, where more are to be added before the step."""

    @abstractmethod
    def settle(self, most: float) -> None:
        """Make the gradients those of all workers together, and scale them to a norm of at most `most`."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Return whole weights; where shares are put together, in the first worker alone. All workers call it."""

    @abstractmethod
    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return the whole state of the optimiser, as `weights` returns weights."""

    @abstractmethod
    def load(
        self, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, optimizer_state: Mapping[str, Any]
    ) -> None:
        """Take whole weights and the optimiser's whole state from a checkpoint, which every worker reads."""


class Replicated(Parallel):
    """A whole trainee in each worker.

    Args:
        model: Where there are more workers than one, `DistributedDataParallel` of the trainee; else the trainee.
        trainee: What is trained.
    """

    def __init__(self, model: nn.Module, trainee: Trainee) -> None:
        self.model, self.trainee = model, trainee

    def adding_up(self, more: bool) -> contextlib.AbstractContextManager[Any]:
        if more and isinstance(self.model, nn.parallel.DistributedDataParallel):
            return self.model.no_sync()
        return contextlib.nullcontext()

    def settle(self, most: float) -> None:
        # The backward pass has exchanged them.
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.grad is not None], most)

    def weights(self) -> dict[str, Tensor]:
        return self.trainee.state_dict()

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return optimizer.state_dict()

    def load(
        self, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, optimizer_state: Mapping[str, Any]
    ) -> None:
        self.trainee.load_state_dict(weights)
        optimizer.load_state_dict(dict(optimizer_state))


class Sharded(Parallel):
    """The encoder's weights, gradients and optimiser state in shares, one a worker, by FSDP2.

    Each layer is put together when it computes, and let go after. Heads are in every worker: they are small, and
    FSDP2 takes no parameter without a dimension, which the weight of the prior is. Wants a process group, and an
    encoder of which something is trained: a frozen one is asked by each worker as its own batches come.

    Args:
        trainee: What is trained, on its device. Its optimiser is made afterwards, of the shares.
    """

    judged_by_all = True

    def __init__(self, trainee: Trainee) -> None:
        self._backbone = trainee.scorer.encoder.backbone
        # One worker's second pass would wait for ever for the shares of those who make one.
        trainee.scorer.encoder.may_split = False
        for layer in self._backbone.encoder.layer:
            fully_shard(layer)
        fully_shard(self._backbone)
        self.model = self.trainee = trainee

    @contextlib.contextmanager
    def adding_up(self, more: bool) -> Iterator[None]:
        assert isinstance(self._backbone, FSDPModule)
        self._backbone.set_requires_gradient_sync(not more)
        yield

    def settle(self, most: float) -> None:
        gradients = [p.grad for p in self.trainee.parameters() if p.grad is not None]
        shares = [g.to_local() for g in gradients if isinstance(g, DTensor)]
        own = [g for g in gradients if not isinstance(g, DTensor)]
        for gradient in own:
            # FSDP2 has averaged those of the encoder; gloo only adds up.
            dist.all_reduce(gradient)
            gradient.div_(dist.get_world_size())
        # Each worker knows the norm of its share only.
        squared = nn.utils.get_total_norm(shares) ** 2
        dist.all_reduce(squared)
        norm = (squared + nn.utils.get_total_norm(own) ** 2).sqrt()
        # As torch.nn.utils.clip_grad_norm_ scales; it takes no mixture of shares and whole tensors.
        torch._foreach_mul_(shares + own, (most / (norm + 1e-6)).clamp(max=1.0))

    def weights(self) -> dict[str, Tensor]:
        whole: dict[str, Any] = get_model_state_dict(self.trainee, options=_WHOLE)
        return whole

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return get_optimizer_state_dict(self.trainee, optimizer, options=_WHOLE)

    def load(
        self, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, optimizer_state: Mapping[str, Any]
    ) -> None:
        set_model_state_dict(self.trainee, dict(weights), options=_WHOLE)
        set_optimizer_state_dict(self.trainee, optimizer, dict(optimizer_state), options=_WHOLE)
