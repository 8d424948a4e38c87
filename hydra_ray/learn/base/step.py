"""One step of the training: a batch of groups as tensors, its loss, and what the optimiser makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from hydra_ray.learn.base.parallel import Parallel
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.heads.bank import NO_USER
from hydra_ray.models.layout import Texts
from hydra_ray.models.losses import LOSSES, TEMPERATURE
from hydra_ray.settings import BaseSettings

_CLIP = 1.0


def train_step(
    parallel: Parallel,
    batch: Sequence[dict[str, Any]],
    base: BaseSettings,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> float:
    """Take one step on a batch of group rows, in `base.accumulate` parts; return the mean loss before it.

    However many parts there are, the gradient is that of the whole batch.
    """
    # A whole group is scored with or without its user's delta: a listwise loss compares within it.
    dropped = torch.rand(len(batch)) < base.user_drop
    size = -(-len(batch) // base.accumulate)
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for start in range(0, len(batch), size):
        rows = batch[start : start + size]
        tokens, users, scores, group = collate(parallel.trainee.scorer.encoder, rows, device)
        without = dropped[start : start + size].to(device)[group]
        with parallel.adding_up(more=start + size < len(batch)):
            logits = parallel.model(tokens, users.masked_fill(without, NO_USER))
            loss = LOSSES[base.loss](logits, scores, group, TEMPERATURE).sum() / len(batch)
            loss.backward()
        total += float(loss.detach())
    parallel.settle(_CLIP)
    optimizer.step()
    return total


def collate(
    encoder: TextsEncoder, batch: Sequence[dict[str, Any]], device: torch.device
) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """A batch of group rows as tokens (of a frozen encoder features), users, scores, group numbers, one a decision."""
    rows = (zip(row["judged"], row["by"], map(tuple, row["and_by"]), strict=True) for row in batch)
    decisions: list[Texts] = list(chain.from_iterable(rows))
    sizes = torch.tensor([len(row["scores"]) for row in batch])
    users = torch.tensor([row["user"] for row in batch]).repeat_interleave(sizes)
    group = torch.arange(len(batch)).repeat_interleave(sizes)
    scores = torch.tensor([score for row in batch for score in row["scores"]], dtype=torch.float32)
    # Remembered: each text is encoded in the first epoch and never again.
    texts = {"features": encoder.features(decisions)} if encoder.frozen else encoder.tokenize(decisions)
    beside = [row.get("beside") or [()] * len(row["scores"]) for row in batch]
    texts["beside"] = torch.tensor([list(numbers) for own in beside for numbers in own], dtype=torch.float32)
    texts["priors"] = torch.tensor([prior for row in batch for prior in row["priors"]], dtype=torch.float32)
    tokens = {name: _moved(tensor, device) for name, tensor in texts.items()}
    return tokens, _moved(users, device), _moved(scores, device), _moved(group, device)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on a device; to a GPU it is copied while the processor goes on."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
