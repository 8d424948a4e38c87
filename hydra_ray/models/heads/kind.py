"""The interface of a kind of head, and the options that fitting one may depend on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from hydra_ray.models.heads.head import Head

if TYPE_CHECKING:
    from hydra_ray.models.features import Batch

# Parameters by name, of one user or stacked over many on the first dimension.
Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Options of fitting heads on a frozen base; `settings.FitSettings` explains each."""

    loss: str
    rank: int
    steps: int
    lr: float
    pull: float
    dropout: float
    temperature: float
    held_back: float


class HeadKind(ABC):
    """A form of delta_u(z). Every head starts as, and is pulled towards, a delta of exactly zero.

    Attributes:
        name: Name in settings and in the store.
        dtype: Number format that heads are kept in.
        scored_by: Names of the parameters that scoring needs; empty is all of them.
    """

    name: ClassVar[str]
    dtype: ClassVar[torch.dtype] = torch.bfloat16
    scored_by: ClassVar[tuple[str, ...]] = ()

    def common(self, width: int) -> nn.Module | None:
        """Make a fresh part that all heads of this kind share, fitted with the base; None where there is none."""
        return None

    @abstractmethod
    def delta(self, heads: Mapping[str, Tensor], rows: Tensor, z: Tensor, common: nn.Module | None) -> Tensor:
        """Return deltas under some of the heads.

        Args:
            heads: Parameters by name, stacked over all users there are.
            rows: Rows of the heads that are wanted, distinct and ascending, shape (n,); only these are touched.
            z: Features for each of them, shape (n, places, width).
            common: Part that all heads of the kind share.

        Returns:
            Deltas, shape (n, places).
        """

    @abstractmethod
    def fit(self, batch: Batch, shared: Tensor, common: nn.Module | None, options: FitOptions) -> Tensors:
        """Fit heads of all users of a batch; none depends on another user's data.

        Args:
            batch: Features of the users.
            shared: Logits that deltas are added to, from `HeadModel.offset`, shape (users, places).
            common: Part that all heads of the kind share.
            options: How the heads are fitted.
        """

    def course(
        self, batch: Batch, shared: Tensor, common: nn.Module | None, options: FitOptions, every: int
    ) -> Iterator[Tensors]:
        """Yield heads during a fit: after every `every` steps and at the end, or once for kinds without steps.

        Other arguments as `fit`; `options.held_back` is not looked at.
        """
        yield self.fit(batch, shared, common, options)

    def apart(self, stacked: Mapping[str, Tensor], about: Mapping[str, float] | None = None) -> list[Head]:
        """Return each user's own head out of stacked parameters, as it is kept."""
        kept = {name: tensor.detach().to("cpu", self.dtype) for name, tensor in stacked.items()}
        users = len(next(iter(kept.values())))
        return [
            Head(self.name, {name: tensor[row].clone() for name, tensor in kept.items()}, dict(about or {}))
            for row in range(users)
        ]


def rows_of(heads: Mapping[str, Tensor], name: str, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return some rows of a stacked parameter, distinct and ascending; where all are asked for, none is gathered."""
    stacked = heads[name]
    return (stacked if len(rows) == len(stacked) else stacked[rows]).to(dtype)
