"""Heads of low rank around the shared one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hydra_ray.models.heads.descent import GradientFitted
from hydra_ray.models.heads.kind import Tensors, rows_of


class LowRank(GradientFitted):
    """delta_u(z) = out_u . tanh(U_u z), U of shape (rank, width): 13.5 KiB a user at rank 6, width 1152, bfloat16."""

    name = "lowrank"

    def fresh(self, users: int, width: int, rank: int) -> Tensors:
        # All users start from one projection, so that a head depends on its user's data only.
        start = torch.randn(rank, width, generator=torch.Generator().manual_seed(0)) / width**0.5
        return {"project": start.repeat(users, 1, 1), "out": torch.zeros(users, rank)}

    def delta(self, heads: Mapping[str, Tensor], rows: Tensor, z: Tensor, common: nn.Module | None) -> Tensor:
        project, out = (rows_of(heads, name, rows, z.dtype) for name in ("project", "out"))
        return (torch.tanh(z @ project.transpose(1, 2)) @ out.unsqueeze(-1)).squeeze(-1)


class Dense(GradientFitted):
    """delta_u(z) = out_u . tanh(W_u z + b_u), W square: HYDRA's head size, kept for parity (2.3 MiB at width 768)."""

    name = "dense"

    def fresh(self, users: int, width: int, rank: int) -> Tensors:
        start = torch.randn(width, width, generator=torch.Generator().manual_seed(0)) / width**0.5
        weight = start.repeat(users, 1, 1)
        return {"weight": weight, "bias": torch.zeros(users, width), "out": torch.zeros(users, width)}

    def delta(self, heads: Mapping[str, Tensor], rows: Tensor, z: Tensor, common: nn.Module | None) -> Tensor:
        bias, out = (rows_of(heads, name, rows, z.dtype) for name in ("bias", "out"))
        if z.is_cuda or len(rows) == len(heads["out"]):
            hidden = torch.baddbmm(bias.unsqueeze(1), z, rows_of(heads, "weight", rows, z.dtype).mT)
        else:
            # One product a user: on a CPU gathering some of the square matrices would first move each of them twice.
            hidden = torch.stack(
                [
                    torch.addmm(own_bias, own, heads["weight"][row].to(z.dtype).T)
                    for row, own, own_bias in zip(rows.tolist(), z, bias, strict=True)
                ]
            )
        return (torch.tanh(hidden) @ out.unsqueeze(-1)).squeeze(-1)
