"""Many users' heads side by side, and the choice of those that a batch of decisions needs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hydra_ray.models.heads.descent import GradientFitted
from hydra_ray.models.heads.kind import HeadKind

NO_USER = -1


def deltas(
    kind: HeadKind, heads: Mapping[str, Tensor], users: Tensor, z: Tensor, common: nn.Module | None = None
) -> Tensor:
    """Return the delta of each decision under its own user's head; only heads of users who are present are touched.

    Args:
        kind: Kind of the heads.
        heads: Parameters by name, stacked over users.
        users: Row of each decision's user, -1 for none, shape (batch,).
        z: Features, shape (batch, width).
        common: Part that all heads of the kind share.

    Returns:
        Deltas, shape (batch,); zero where the user is none.
    """
    # Row 0 stands in where there is no user and is masked out: shapes stay fixed.
    present, slot, place = _by_user(users.clamp(min=0))
    padded = z.new_zeros(len(present), int(place.max()) + 1, z.shape[1]).index_put((slot, place), z)
    delta = kind.delta(heads, present, padded, common)[slot, place]
    return torch.where(users != NO_USER, delta, z.new_zeros(()))


class HeadBank(nn.Module):
    """Trainable heads of a fixed list of users, for a kind that is trained with the base.

    Args:
        kind: Kind of the heads.
        users: Number of users.
        width: Width of z.
        rank: Rank of the heads, for kinds that have one.
    """

    def __init__(self, kind: GradientFitted, users: int, width: int, rank: int) -> None:
        super().__init__()
        self.kind = kind
        self.heads = nn.ParameterDict(kind.fresh(users, width, rank))

    def forward(self, z: Tensor, users: Tensor) -> Tensor:
        """Return deltas, shape (batch,), of features of shape (batch, width); users as in `deltas`."""
        return deltas(self.kind, dict(self.heads.items()), users, z)


def _by_user(users: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distinct users, the row of each decision's user, and its number among that user's decisions."""
    present, slot, counts = users.unique(return_inverse=True, return_counts=True)
    order = slot.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.empty_like(slot)
    place[order] = torch.arange(len(users), device=users.device) - starts[slot[order]]
    return present, slot, place
