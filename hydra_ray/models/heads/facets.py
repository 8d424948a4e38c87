"""Users as mixtures of facet heads that all share: a router reads their history, nothing is fitted for them.

After MoF (arXiv 2610.08330).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hydra_ray.models.features import Batch
from hydra_ray.models.heads.kind import FitOptions, HeadKind, Tensors, rows_of
from hydra_ray.models.losses import group_log_softmax

# Groups that count as much as knowing nothing.
_SHRINK = 4.0


class FacetHeads(nn.Module):
    """F facets v_f . tanh(U_f z), and the router that mixes them for a user.

    Args:
        width: Width of z.
        facets: Number of facets, F.
        hidden: Number of rows of each U_f.
    """

    def __init__(self, width: int, facets: int = 6, hidden: int = 8) -> None:
        super().__init__()
        self.project = nn.Linear(width, facets * hidden)
        self.out = nn.Parameter(0.1 * torch.randn(facets, hidden))
        self.router = nn.Linear(width, facets)

    def forward(self, z: Tensor) -> Tensor:
        """Return each facet's logit, shape (..., facets), of features of shape (..., width)."""
        hidden = torch.tanh(self.project(z)).unflatten(-1, self.out.shape)
        return (hidden * self.out).sum(-1)

    def mix(self, taste: Tensor) -> Tensor:
        """Return weights of the facets, shape (users, facets); a taste of zero gives zeros: the shared answer."""
        nobody = torch.softmax(self.router.bias, dim=0)
        return torch.softmax(self.router(taste), dim=1) - nobody


def taste(batch: Batch, temperature: float, counted: Tensor | None = None) -> Tensor:
    """Return how the features that a user preferred differ from the others, shape (users, width).

    Args:
        batch: Features of the users.
        temperature: Divides the scores; the smaller it is, the more the best of a group counts than the next.
        counted: Whether each group is looked at, shape (groups,); None looks at all.
    """
    share = group_log_softmax(batch.scores / temperature, batch.group).exp()
    sizes = torch.bincount(batch.group)[batch.group]
    weight = share - 1.0 / sizes
    counts = batch.counts.float()
    if counted is not None:
        weight, counts = weight * counted[batch.group], batch.by_user(counted.float())
    users, places, _ = batch.z.shape
    padded = batch.z.new_zeros(users * places).index_copy(0, batch.at, weight).view(users, 1, places)
    return (padded @ batch.z).squeeze(1) / (counts + _SHRINK).unsqueeze(1)


class Facets(HeadKind):
    """delta_u(z) = mix_u . facets(z)."""

    name = "facets"
    dtype = torch.float32

    def common(self, width: int) -> FacetHeads:
        return FacetHeads(width)

    def delta(self, heads: Mapping[str, Tensor], rows: Tensor, z: Tensor, common: nn.Module | None) -> Tensor:
        assert common is not None
        return (common(z) @ rows_of(heads, "mix", rows, z.dtype).unsqueeze(-1)).squeeze(-1)

    def fit(self, batch: Batch, shared: Tensor, common: nn.Module | None, options: FitOptions) -> Tensors:
        assert isinstance(common, FacetHeads)
        with torch.no_grad():
            return {"mix": common.mix(taste(batch, options.temperature))}
