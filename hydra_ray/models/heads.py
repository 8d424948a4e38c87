"""The shared head and the users' heads around it.

logit = shared(z) + delta_u(z). `shared` serves everybody; a user without a fitted head contributes
no delta and gets exactly shared(z). A new kind is one class and one line in `HEAD_KINDS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

NO_USER = -1


class SharedHead(nn.Module):
    """shared(z) = w . tanh(W z + b), the form of HYDRA's head with one output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Logits of features of shape (batch, width), shape (batch,)."""
        return self.out(torch.tanh(self.dense(z))).squeeze(-1)


class HeadBank(nn.Module, ABC):
    """The heads of a fixed list of users, one row each in every parameter.

    Every head starts as a delta of exactly zero.
    """

    def forward(self, z: Tensor, users: Tensor) -> Tensor:
        """Deltas of each pair under its own user's head.

        Args:
            z: Features, shape (batch, width).
            users: Row of each pair's user in the bank, -1 for none, shape (batch,).

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
    """delta_u(z) = out_u . tanh(U_u z), U of shape (rank, width): 12 KiB a user at rank 8, width 384."""

    def __init__(self, users: int, width: int, rank: int = 8) -> None:
        super().__init__()
        # All users start from one projection, so that a head depends on its user's data only.
        start = torch.randn(rank, width, generator=torch.Generator().manual_seed(0)) / width**0.5
        self.project = nn.Parameter(start.repeat(users, 1, 1))
        self.out = nn.Parameter(torch.zeros(users, rank))

    def delta(self, z: Tensor, users: Tensor) -> Tensor:
        hidden = torch.tanh(torch.einsum("brw,bw->br", self.project[users], z))
        return (hidden * self.out[users]).sum(dim=1)

    def pulled(self) -> list[Tensor]:
        return [self.out]


class DenseBank(HeadBank):
    """delta_u(z) = out_u . tanh(W_u z + b_u): HYDRA's head size, kept for parity (2.3 MiB at width 768)."""

    def __init__(self, users: int, width: int, rank: int = 0) -> None:
        super().__init__()
        start = torch.randn(width, width, generator=torch.Generator().manual_seed(0)) / width**0.5
        self.weight = nn.Parameter(start.repeat(users, 1, 1))
        self.bias = nn.Parameter(torch.zeros(users, width))
        self.out = nn.Parameter(torch.zeros(users, width))

    def delta(self, z: Tensor, users: Tensor) -> Tensor:
        # One matmul a user: gathering a width x width matrix for every pair moves far more memory.
        delta = z.new_zeros(len(z))
        for user in users.unique().tolist():
            rows = users == user
            hidden = torch.tanh(z[rows] @ self.weight[user].T + self.bias[user])
            delta = delta.masked_scatter(rows, hidden @ self.out[user])
        return delta

    def pulled(self) -> list[Tensor]:
        return [self.out]


HEAD_KINDS: dict[str, type[HeadBank]] = {"lowrank": LowRankBank, "dense": DenseBank}


def make_bank(kind: str, users: int, width: int, rank: int) -> HeadBank:
    """A bank of fresh heads, each with a delta of zero."""
    return HEAD_KINDS[kind](users, width, rank)
