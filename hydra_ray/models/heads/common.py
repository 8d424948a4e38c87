"""Fits facets and their router on the training users' features, once the base is frozen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hydra_ray.models.features import Batch, UserFeatures, pad
from hydra_ray.models.heads.facets import FacetHeads, taste
from hydra_ray.models.losses import LOSSES, TEMPERATURE

_USERS_PER_BATCH, _STEPS, _LOOK_EVERY, _PATIENCE = 16, 400, 10, 8
_LR, _DECAY = 2e-3, 0.05

Offset = Callable[[Batch], Tensor]
# Users held out, with what deltas are added to.
Judges = list[tuple[Batch, Tensor]]


def fit_facets(users: Sequence[UserFeatures], held: Sequence[UserFeatures], offset: Offset, loss: str) -> FacetHeads:
    """Fit facets and router together.

    The router reads half of a user's groups, drawn anew each time; the other half gives the loss.

    Args:
        users: Features of the training users.
        held: Features of other training users, who say when to stop.
        offset: Function `HeadModel.offset` of the frozen base.
        loss: Loss that the base was trained with, a key of `LOSSES`.
    """
    torch.manual_seed(0)
    common = FacetHeads(users[0].z.shape[1]).to(users[0].z.device)
    optimizer = torch.optim.AdamW(common.parameters(), lr=_LR, weight_decay=_DECAY)

    def loss_of(batch: Batch, base: Tensor, read: Tensor) -> Tensor:
        mix = common.mix(taste(batch, TEMPERATURE, read))
        logits = base + batch.pick((common(batch.z) @ mix.unsqueeze(-1)).squeeze(-1))
        return LOSSES[loss](logits, batch.scores, batch.group, TEMPERATURE)[~read].mean()

    def train_loss(batch: Batch, rows: Tensor, base: Tensor) -> Tensor:
        read = torch.rand(len(batch.owner), device=base.device) < 0.5
        read[0], read[-1] = True, False
        return loss_of(batch, base, read)

    _fit(
        common,
        optimizer,
        users,
        _batches(held, offset),
        offset,
        train_loss,
        lambda batch, base: loss_of(batch, base, _earlier(batch)),
    )
    return common


def _fit(
    common: nn.Module,
    optimizer: torch.optim.Optimizer,
    users: Sequence[UserFeatures],
    judges: Judges,
    offset: Offset,
    train_loss: Callable[[Batch, Tensor, Tensor], Tensor],
    held_loss: Callable[[Batch, Tensor], Tensor],
) -> None:
    """Descend until users held out stop gaining; leave the common part as it served them best."""
    best, kept, since = float("inf"), copy.deepcopy(common.state_dict()), 0
    for step in range(_STEPS):
        rows = torch.randperm(len(users))[:_USERS_PER_BATCH]
        batch = pad([users[row] for row in rows.tolist()])
        with torch.no_grad():
            base = batch.pick(offset(batch))
        optimizer.zero_grad(set_to_none=True)
        train_loss(batch, rows, base).backward()
        optimizer.step()
        if step % _LOOK_EVERY:
            continue
        now = _over(judges, held_loss)
        if now < best:
            best, kept, since = now, copy.deepcopy(common.state_dict()), 0
        elif (since := since + 1) >= _PATIENCE:
            break
    common.load_state_dict(kept)


@torch.no_grad()
def _batches(users: Sequence[UserFeatures], offset: Offset) -> Judges:
    # Once: they are looked at again and again, and the base is frozen.
    batches = [pad(users[at : at + _USERS_PER_BATCH]) for at in range(0, len(users), _USERS_PER_BATCH)]
    return [(batch, batch.pick(offset(batch))) for batch in batches]


@torch.no_grad()
def _over(judges: Judges, held_loss: Callable[[Batch, Tensor], Tensor]) -> float:
    losses = [float(held_loss(batch, base)) for batch, base in judges]
    return sum(losses) / len(losses)


def _earlier(batch: Batch) -> Tensor:
    """Return whether each group is in the first half of its user's, shape (groups,)."""
    return batch.place < batch.counts[batch.owner] / 2
