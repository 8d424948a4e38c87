"""The shared head and the users' heads around it.

logit = shared(z) + delta_u(z). `shared` serves everybody; a user without a fitted head contributes
no delta and gets exactly shared(z). A new kind is one class and one line in `HEAD_KINDS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

NO_USER = -1


class SharedHead(nn.Module):
    """shared(z) = w . tanh(W z + b), the form of HYDRA's head with one output.

    Args:
        width: Of z.
        hidden: Rows of W.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Logits of features of shape (batch, width), shape (batch,)."""
        return self.out(torch.tanh(self.dense(z))).squeeze(-1)


class HeadBank(nn.Module, ABC):
    """The heads of a fixed list of users, one row each in every parameter.

    Every head starts as a delta of exactly zero.
    """

    def forward(self, z: Tensor, users: Tensor) -> Tensor:
        """Deltas of each decision under its own user's head.

        Args:
            z: Features, shape (batch, width).
            users: Row of each decision's user in the bank, -1 for none, shape (batch,).

        Returns:
            Deltas, shape (batch,); zero where the user is none.
        """
        known = users != NO_USER
        # Row 0 stands in where there is no user and is masked out: shapes stay fixed.
        return torch.where(known, self.delta(z, users.clamp(min=0)), z.new_zeros(()))

    @abstractmethod
    def delta(self, z: Tensor, users: Tensor) -> Tensor:
        """As `forward`, for users that all exist."""

    def penalty(self) -> Tensor:
        """Squared distance of each head's delta from none, shape (users,)."""
        return sum((p.flatten(1) ** 2).sum(dim=1) for p in self.pulled())  # type: ignore[return-value]

    @abstractmethod
    def pulled(self) -> list[Tensor]:
        """The parameters that the pull towards the shared head acts on."""

    def row(self, user: int) -> dict[str, Tensor]:
        """One user's head."""
        return {name: p[user].detach().clone() for name, p in self.named_parameters()}

    @torch.no_grad()
    def put(self, user: int, head: Mapping[str, Tensor]) -> None:
        """Sets one user's head."""
        for name, p in self.named_parameters():
            p[user] = head[name]


class LowRankBank(HeadBank):
    """delta_u(z) = out_u . tanh(U_u z), U of shape (rank, width): 27 KiB a user at rank 6 and width 1152."""

    def __init__(self, users: int, width: int, rank: int) -> None:
        super().__init__()
        # All users start from one projection, so that a head depends on its user's data only.
        start = torch.randn(rank, width, generator=torch.Generator().manual_seed(0)) / width**0.5
        self.project = nn.Parameter(start.repeat(users, 1, 1))
        self.out = nn.Parameter(torch.zeros(users, rank))

    def delta(self, z: Tensor, users: Tensor) -> Tensor:
        # One small matmul a user: gathering a projection for every decision would move rank times as much.
        present, slot, place = _by_user(users)
        padded = z.new_zeros(len(present), int(place.max()) + 1, z.shape[1]).index_put((slot, place), z)
        hidden = torch.tanh(padded @ self.project[present].transpose(1, 2))
        return (hidden @ self.out[present].unsqueeze(-1)).squeeze(-1)[slot, place]

    def pulled(self) -> list[Tensor]:
        return [self.out]


class DenseBank(HeadBank):
    """delta_u(z) = out_u . tanh(W_u z + b_u): HYDRA's head size, kept for parity (2.3 MiB at width 768)."""

    def __init__(self, users: int, width: int, rank: int) -> None:
        super().__init__()
        start = torch.randn(width, width, generator=torch.Generator().manual_seed(0)) / width**0.5
        self.weight = nn.Parameter(start.repeat(users, 1, 1))
        self.bias = nn.Parameter(torch.zeros(users, width))
        self.out = nn.Parameter(torch.zeros(users, width))

    def delta(self, z: Tensor, users: Tensor) -> Tensor:
        # One matmul a user: gathering a width x width matrix for every decision moves far more memory.
        delta = z.new_zeros(len(z))
        for user in users.unique().tolist():
            rows = users == user
            hidden = torch.tanh(z[rows] @ self.weight[user].T + self.bias[user])
            delta = delta.masked_scatter(rows, hidden @ self.out[user])
        return delta

    def pulled(self) -> list[Tensor]:
        return [self.out]


def _by_user(users: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The distinct users; which of them each decision belongs to; its number among that one's decisions."""
    present, slot, counts = users.unique(return_inverse=True, return_counts=True)
    order = slot.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.empty_like(slot)
    place[order] = torch.arange(len(users), device=users.device) - starts[slot[order]]
    return present, slot, place


HEAD_KINDS: dict[str, Callable[[int, int, int], HeadBank]] = {
    "lowrank": LowRankBank,
    "dense": DenseBank,
}


def make_bank(kind: str, users: int, width: int, rank: int) -> HeadBank:
    """A bank of fresh heads, each with a delta of zero."""
    return HEAD_KINDS[kind](users, width, rank)
