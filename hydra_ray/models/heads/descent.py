"""Fits many users' heads in one vectorised gradient descent, as if each were fitted alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from itertools import islice

import torch
from torch import Tensor, nn

from hydra_ray.models.features import Batch
from hydra_ray.models.heads.kind import FitOptions, HeadKind, Tensors
from hydra_ray.models.losses import LOSSES

# How often held-back groups are looked at, in steps; and how many looks without a gain end a user's fit.
_LOOK_EVERY, _PATIENCE = 5, 3


class GradientFitted(HeadKind):
    """A kind that is fitted by gradient descent."""

    @abstractmethod
    def fresh(self, users: int, width: int, rank: int) -> Tensors:
        """Return heads with a delta of zero, stacked over users."""

    def penalty(self, heads: Mapping[str, Tensor]) -> Tensor:
        """Return the squared distance of each head from the shared answer, shape (users,)."""
        return (heads["out"] ** 2).flatten(1).sum(dim=1)

    def fit(self, batch: Batch, shared: Tensor, common: nn.Module | None, options: FitOptions) -> Tensors:
        return fit_by_descent(self, batch, shared, common, options)

    def course(
        self, batch: Batch, shared: Tensor, common: nn.Module | None, options: FitOptions, every: int
    ) -> Iterator[Tensors]:
        everything = torch.ones_like(batch.owner, dtype=torch.bool)
        steps = descend(self, batch, everything, shared, common, options)
        for step, heads in enumerate(islice(steps, options.steps + 1)):
            if step and (step % every == 0 or step == options.steps):
                yield {name: tensor.detach() for name, tensor in heads.items()}


def fit_by_descent(
    kind: GradientFitted, batch: Batch, shared: Tensor, common: nn.Module | None, options: FitOptions
) -> Tensors:
    """Return heads after `options.steps` steps, or each after the number that suits its user's held-back groups best.

    With `options.held_back` the latest share of a user's groups first shows how many steps are right; then
    all groups are fitted with that many. Arguments as `HeadKind.fit`.
    """
    steps = torch.full_like(batch.counts, options.steps)
    if options.held_back:
        steps = _best_steps(kind, batch, shared, common, options)
    train = torch.ones_like(batch.owner, dtype=torch.bool)
    with torch.enable_grad():
        descent = descend(kind, batch, train, shared, common, options)
        kept = {name: p.detach().clone() for name, p in next(descent).items()}
        for step in range(1, int(steps.max()) + 1):
            heads = next(descent)
            done = steps == step
            if done.any():
                for name, tensor in kept.items():
                    tensor[done] = heads[name].detach()[done]
    return kept


def descend(
    kind: GradientFitted, batch: Batch, train: Tensor, shared: Tensor, common: nn.Module | None, options: FitOptions
) -> Iterator[Tensors]:
    """Yield the heads before the first step and after each one, without end.

    Args:
        kind: Kind of the heads.
        batch: Features of the users.
        train: Whether each group is learnt from, shape (groups,).
        shared: Logits that deltas are added to, shape (users, places).
        common: Part that all heads of the kind share.
        options: How the heads are fitted; `steps` and `held_back` are not looked at.
    """
    heads = {
        name: tensor.to(batch.z.device).requires_grad_()
        for name, tensor in kind.fresh(len(batch.counts), batch.z.shape[2], options.rank).items()
    }
    yield heads
    rows = torch.arange(len(batch.counts), device=batch.z.device)
    counts = batch.by_user(train.float()).clamp(min=1)
    weight = train / counts[batch.owner]
    offset = batch.pick(shared)
    optimizer = torch.optim.Adam(list(heads.values()), lr=options.lr, fused=True)
    # On the CPU on every device, and one mask for all users: a head must not depend on who is fitted with it.
    masks = torch.Generator().manual_seed(0)
    while True:
        z = batch.z
        if options.dropout:
            mask = torch.rand(z.shape[2], generator=masks) >= options.dropout
            z = z * (mask / (1 - options.dropout)).to(z.device)
        logits = offset + batch.pick(kind.delta(heads, rows, z, common))
        losses = LOSSES[options.loss](logits, batch.scores, batch.group, options.temperature)
        # A sum over users of each one's own terms: no user's gradient depends on another's data. The
        # pull is a prior, so it weighs as much as 1 / groups of them: little data stays near shared.
        total = (losses * weight).sum() + options.pull * (kind.penalty(heads) / counts).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        yield heads


def held_back_groups(batch: Batch, share: float) -> Tensor:
    """Return whether each group is in its user's latest share, shape (groups,); none is where there are too few."""
    kept = batch.counts - (batch.counts * share).floor().to(batch.counts.dtype)
    return batch.place >= kept[batch.owner]


def _best_steps(
    kind: GradientFitted, batch: Batch, shared: Tensor, common: nn.Module | None, options: FitOptions
) -> Tensor:
    """Return the number of steps with the least loss on each user's held-back groups; all where none are held back."""
    held = held_back_groups(batch, options.held_back)
    rows = torch.arange(len(batch.counts), device=batch.z.device)
    offset = batch.pick(shared)
    best_loss = torch.full(batch.counts.shape, torch.inf, device=batch.z.device)
    best_step, looks_since = torch.zeros_like(batch.counts), torch.zeros_like(batch.counts)
    watched = batch.by_user(held.float()) > 0
    with torch.enable_grad():
        descent = descend(kind, batch, ~held, shared, common, options)
        for step in range(options.steps + 1):
            heads = next(descent)
            if step % _LOOK_EVERY and step != options.steps:
                continue
            with torch.no_grad():
                logits = offset + batch.pick(kind.delta(heads, rows, batch.z, common))
                losses = LOSSES[options.loss](logits, batch.scores, batch.group, options.temperature)
                loss = batch.by_user(losses * held)
                # A user's later looks count no more once they have lost patience: as if fitted alone.
                better = (loss < best_loss) & (looks_since < _PATIENCE)
                best_loss = torch.where(better, loss, best_loss)
                best_step = torch.where(better, step, best_step)
                looks_since = torch.where(better, 0, looks_since + 1)
            if bool((looks_since[watched] >= _PATIENCE).all()):
                break
    return torch.where(watched, best_step, options.steps)
