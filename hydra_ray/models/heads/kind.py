"""What a kind of head is, and what fitting one may depend on."""

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
    """How heads are fitted on a frozen base; `settings.FitSettings` explains each."""

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
        name: In settings and in the store.
        dtype: In which heads are kept.
        scored_by: Parameters that scoring needs; empty is all of them.
    """

    name: ClassVar[str]
    dtype: ClassVar[torch.dtype] = torch.bfloat16
    scored_by: ClassVar[tuple[str, ...]] = ()

    def common(self, width: int) -> nn.Module | None:
        """A fresh part that all heads of this kind share, fitted with the base; None where there is none."""
        return None

    @abstractmethod
    def delta(self, heads: Mapping[str, Tensor], rows: Tensor, z: Tensor, common: nn.Module | None) -> Tensor:
        """Deltas under some of the heads.

        Args:
            heads: Stacked over all users there are.
            rows: The heads that are wanted, distinct and ascending, shape (n,); only these are touched.
            z: Features for each of them, shape (n, places, width).
            common: The kind's common part.

        Returns:
            Shape (n, places).
        """

    @abstractmethod
    def fit(self, batch: Batch, shared: Tensor, common: nn.Module | None, options: FitOptions) -> Tensors:
        """Heads of all users of a batch; none depends on another user's data.

        Args:
            batch: The users' features.
            shared: What deltas are added to, `HeadModel.offset`, shape (users, places).
            common: The kind's common part.
            options: How.
        """

    def course(
        self, batch: Batch, shared: Tensor, common: nn.Module | None, options: FitOptions, every: int
    ) -> Iterator[Tensors]:
        """Heads as they are on the way: after every so many steps, or once where there are no steps.

        Arguments as `fit`; `options.held_back` is not looked at.
        """
        yield self.fit(batch, shared, common, options)

    def apart(self, stacked: Mapping[str, Tensor], about: Mapping[str, float] | None = None) -> list[Head]:
        """Each user's own head out of stacked parameters, as it is kept."""
        kept = {name: tensor.detach().to("cpu", self.dtype) for name, tensor in stacked.items()}
        users = len(next(iter(kept.values())))
        return [
            Head(self.name, {name: tensor[row].clone() for name, tensor in kept.items()}, dict(about or {}))
            for row in range(users)
        ]


def rows_of(heads: Mapping[str, Tensor], name: str, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Some users' rows of a parameter, distinct and ascending; all of them are not copied first."""
    stacked = heads[name]
    return (stacked if len(rows) == len(stacked) else stacked[rows]).to(dtype)
