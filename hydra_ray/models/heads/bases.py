"""Users as weights over basis heads that all share: tiny, uncertain where little is known, and learning online.

After the shared reward bases of LoRe (arXiv 2504.14439) and PReF (arXiv 2503.06358).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from hydra_ray.models.features import Batch
from hydra_ray.models.heads.kind import FitOptions, HeadKind, Tensors, rows_of
from hydra_ray.models.heads.likelihoods import LIKELIHOODS

# At the default pull the prior of the weights is the unit Gaussian that the bases were calibrated for.
UNIT_PULL = 0.05
_MOST_ROUNDS, _MOST_HALVINGS, _CLOSE = 50, 40, 1e-7


class BasisHeads(nn.Module):
    """phi(z) = scale * tanh(V z), shape (..., bases): in its space a user is a vector of weights.

    Args:
        width: Width of z.
        bases: Number of bases; a posterior over 16 takes 608 bytes.
    """

    def __init__(self, width: int, bases: int = 16) -> None:
        super().__init__()
        self.project = nn.Parameter(torch.randn(bases, width) / width**0.5)
        self.scale = nn.Parameter(torch.ones(bases))

    def forward(self, z: Tensor) -> Tensor:
        """Return basis values, shape (..., bases), of features of shape (..., width)."""
        return self.scale * torch.tanh(z @ self.project.T)


class Bases(HeadKind):
    """delta_u(z) = mean_u . phi(z), with a Gaussian posterior over user u's weights.

    The prior is N(0, 1 / p) with p = pull / 0.05. The posterior is the Laplace approximation at the mode,
    found by Newton's method on a convex objective: it depends on the observations, not on their order, so taking
    an item away leaves exactly what fitting without it gives.
    """

    name = "bases"
    dtype = torch.float32
    scored_by = ("mean",)

    def common(self, width: int) -> BasisHeads:
        return BasisHeads(width)

    def delta(self, heads: Mapping[str, Tensor], rows: Tensor, z: Tensor, common: nn.Module | None) -> Tensor:
        assert common is not None
        return (common(z) @ rows_of(heads, "mean", rows, z.dtype).unsqueeze(-1)).squeeze(-1)

    def fit(self, batch: Batch, shared: Tensor, common: nn.Module | None, options: FitOptions) -> Tensors:
        assert isinstance(common, BasisHeads)
        with torch.no_grad():
            observed = observations(common, batch.pick(batch.z), batch.pick(shared), batch.scores)
        return posterior(
            observed, batch.group, batch.owner, len(batch.counts), options.pull, options.loss, options.temperature
        )


def observations(common: BasisHeads, z: Tensor, shared: Tensor, scores: Tensor) -> Tensor:
    """Return all that a posterior depends on, as it is kept: shape (decisions, bases + 2), float16.

    Columns: basis values, what the delta is added to, the score.
    """
    return torch.cat([common(z), shared.unsqueeze(1), scores.unsqueeze(1).to(z.dtype)], dim=1).half()


def posterior(
    observed: Tensor,
    group: Tensor,
    owner: Tensor,
    users: int,
    pull: float,
    loss: str,
    temperature: float,
) -> Tensors:
    """Fit posteriors of users' weights: `mean` (users, bases) and `precision`, lower triangles row by row.

    Args:
        observed: Observations, from `observations`, shape (decisions, bases + 2).
        group: Number of each decision's group, 0 to groups - 1, shape (decisions,).
        owner: Row of each group's user, shape (groups,).
        users: Number of users.
        pull: Strength of the prior, as `FitOptions.pull`.
        loss: Key of `LOSSES`; each group's loss is taken for a negative log-likelihood.
        temperature: Temperature of the listwise target.
    """
    # Few numbers, many digits: what converges to the same mode must agree with it.
    observed = observed.double()
    phi, offset = observed[:, :-2], observed[:, -2]
    bases, user = phi.shape[1], owner[group]
    prior = max(pull, 1e-6) / UNIT_PULL
    likelihood = LIKELIHOODS[loss](observed[:, -1], group, temperature)

    def at(w: Tensor) -> tuple[Tensor, Tensor]:
        losses, known = likelihood.losses(offset + (phi * w[user]).sum(1))
        return phi.new_zeros(users).index_add(0, owner, losses) + prior * (w**2).sum(1) / 2, known

    def newton(w: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        error, weight, spread = likelihood.terms(known, phi)
        slope = (prior * w).index_add(0, user, error.unsqueeze(1) * phi)
        weighted = weight.unsqueeze(1) * spread
        precision = (prior * torch.eye(bases, dtype=phi.dtype, device=phi.device)).repeat(users, 1, 1)
        if users == 1:
            # One product: an update from feedback takes a third less time.
            precision = precision + weighted.T @ spread
        else:
            precision = precision.index_add(0, user, weighted.unsqueeze(2) * spread.unsqueeze(1))
        return torch.cholesky_solve(slope.unsqueeze(-1), torch.linalg.cholesky(precision)).squeeze(-1), precision

    w = phi.new_zeros(users, bases)
    value, known = at(w)
    for _ in range(_MOST_ROUNDS):
        step, _ = newton(w, known)
        # The last step is taken too, and squares what is left of the error: who else is fitted does not show.
        w, value, known = _downhill(at, w, value, step)
        if bool(step.abs().max() < _CLOSE):
            break
    _, precision = newton(w, known)
    rows, columns = torch.tril_indices(bases, bases)
    return {"mean": w.float(), "precision": precision[:, rows, columns].float()}


At = Callable[[Tensor], tuple[Tensor, Tensor]]


def _downhill(at: At, w: Tensor, value: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take each user's Newton step, halved until it leads not uphill; return place, value and what is known there."""
    share = torch.ones_like(value)
    for _ in range(_MOST_HALVINGS):
        tried = w - share.unsqueeze(1) * step
        now, known = at(tried)
        uphill = now > value + 1e-12 * value.abs()
        if not bool(uphill.any()):
            return tried, now, known
        share = torch.where(uphill, share / 2, share)
    # Who went uphill to the last stays: the mode is nearer than numbers tell.
    stay = torch.where(uphill.unsqueeze(1), w, tried)
    return stay, *at(stay)
