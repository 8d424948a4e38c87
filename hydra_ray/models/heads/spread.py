"""How users' own preferences spread around the shared head: a Gaussian over linear heads, by empirical Bayes.

User u's delta is v_u . x, with x a few directions of the features and v_u ~ N(0, S). S makes the training users' scores
likeliest: EM (Dempster, Laird and Rubin, 1977) with the Laplace approximation at each user's mode in its E-step. As
few users tell little of how preferences go together, S is drawn towards a diagonal with one variance for all of the
encoder's directions and one for each lexical number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hydra_ray.models.features import UserFeatures, pad
from hydra_ray.models.heads.bases import BasisHeads
from hydra_ray.models.heads.common import Offset
from hydra_ray.models.heads.likelihoods import LIKELIHOODS, Bce, Listwise
from hydra_ray.models.lexical import LEXICAL
from hydra_ray.models.losses import TEMPERATURE

# Directions of the encoder's features that are looked at, and decisions that they are found with.
_DIRECTIONS, _MOST_DECISIONS = 64, 16_384
# Rounds of Newton's method, and of EM on the quadratic that each of them leaves.
_ROUNDS, _EM = 2, 20
# Variance that EM begins with, in logits squared; and what keeps a variance from being none.
_FIRST, _LEAST = 0.25, 1e-6
# Tried: users whose correlations weigh as much as the diagonal's, as a share of the directions; sizes of the spread.
_TRUSTS, _SIZES, _FOLDS = (0.0, 1.0, 4.0), (0.0, 0.25, 0.5, 1.0, 2.0), 4
# tanh is straight to far beyond what values come to.
_STRAIGHT = 32.0


def fit_bases(users: Sequence[UserFeatures], offset: Offset, loss: str) -> BasisHeads:
    """Fit basis heads in whose space users' weights are N(0, 1), the prior of kind `bases`.

    How far the users' correlations are trusted, and the size of the spread, are those under which users' later groups
    are best foretold from their earlier ones, by a spread that was learnt from others. The size may be zero: then users
    do not differ in what can be foretold, and heads are silent.

    Args:
        users: Features of training users, each with at least two groups; at least `_FOLDS` users.
        offset: Function `HeadModel.offset` of the frozen base.
        loss: Loss that the base was trained with, a key of `LOSSES`.
    """
    common = BasisHeads(users[0].z.shape[1])
    found = Directions.of(users)
    everybody = [_decided(one, found, offset, loss) for one in users]
    halves = [tuple(_decided(part, found, offset, loss) for part in _halves(one)) for one in users]
    trust, size = _choice(everybody, halves, found)
    spread = size * spread_of(everybody, found, trust)
    values, vectors = torch.linalg.eigh(spread)
    root = vectors * values.clamp(min=0).sqrt()
    moment = torch.stack([one.moment for one in everybody]).mean(0)
    # Those bases are kept through which users differ most about candidates as they come.
    _, turned = torch.linalg.eigh(root.T @ moment @ root)
    kept = (found.project @ root @ turned.flip(1)[:, : len(common.scale)]).T
    with torch.no_grad():
        common.project.zero_()[: len(kept)] = kept.float() / _STRAIGHT
        common.scale.fill_(_STRAIGHT if size else 0.0)
    return common


@dataclass(frozen=True, slots=True)
class Directions:
    """A linear map of features to a few directions.

    Attributes:
        project: The map, shape (width, directions), float64. The last directions are the lexical numbers, at a
            deviation of 1 among what competes for a query; the others are the encoder's, at 1 for all together.
    """

    project: Tensor

    @classmethod
    def of(cls, users: Sequence[UserFeatures]) -> Directions:
        """Find the directions that what competes for a query differs in most: principal ones within groups."""
        z = torch.cat([_within(one.z.float(), one.sizes) for one in users])
        if len(z) > _MOST_DECISIONS:
            z = z[torch.linspace(0, len(z) - 1, _MOST_DECISIONS).long()]
        width = z.shape[1] - LEXICAL
        values, vectors = torch.linalg.eigh((z[:, :width].T @ z[:, :width]).double() / len(z))
        kept = min(_DIRECTIONS, width)
        project = torch.zeros(z.shape[1], kept + LEXICAL, dtype=torch.double)
        project[:width, :kept] = vectors.flip(1)[:, :kept] / values.sum().clamp(min=_LEAST).sqrt()
        deviation = z[:, width:].double().square().mean(0).sqrt()
        # A number that never differs says nothing.
        project[width:, kept:] = torch.diag(torch.where(deviation > 1e-3, 1 / deviation, 0.0))
        return cls(project)

    def __len__(self) -> int:
        return self.project.shape[1]

    def diagonal(self, covariance: Tensor) -> Tensor:
        """Return the diagonal nearest to a covariance: one variance for the encoder's directions, others apart."""
        variances = covariance.diagonal().clone()
        variances[:-LEXICAL] = variances[:-LEXICAL].mean()
        return torch.diag(variances)


class Decided:
    """One user's decisions along the directions.

    Args:
        x: Features along the directions, shape (decisions, directions), float64.
        offset: Logits that deltas are added to, shape (decisions,).
        scores: Scores, shape (decisions,).
        sizes: Number of decisions of each group, shape (groups,).
        loss: Key of `LOSSES`.

    Attributes:
        moment: Second moments of x within groups, by group, shape (directions, directions).
    """

    def __init__(self, x: Tensor, offset: Tensor, scores: Tensor, sizes: Tensor, loss: str) -> None:
        group = torch.arange(len(sizes)).repeat_interleave(sizes)
        self._x, self._offset = x, offset.double()
        self._likelihood: Listwise | Bce = LIKELIHOODS[loss](scores.double(), group, TEMPERATURE)
        apart = _within(x, sizes)
        self.moment = apart.T @ apart / len(sizes)

    def quadratic(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return H and b of the loss near weights v, which is w . H w / 2 - b . w there, up to a constant."""
        _, known = self._likelihood.losses(self._offset + self._x @ v)
        error, weight, spread = self._likelihood.terms(known, self._x)
        curvature = (weight.unsqueeze(1) * spread).T @ spread
        return curvature, curvature @ v - self._x.T @ error

    def loss(self, v: Tensor) -> float:
        """Return the mean loss of the groups under weights v."""
        return float(self._likelihood.losses(self._offset + self._x @ v)[0].mean())


def spread_of(users: Sequence[Decided], found: Directions, trust: float) -> Tensor:
    """Return the covariance of users' weights, shape (directions, directions), float64.

    Args:
        users: What each user decided.
        found: The directions.
        trust: Weight of correlations among the users: as many times their number over the number of directions.
    """
    share = trust * len(users) / (trust * len(users) + len(found))
    eye = torch.eye(len(found), dtype=torch.double)
    spread, modes = _FIRST * eye, eye.new_zeros(len(users), len(found))
    for _ in range(_ROUNDS):
        near = [one.quadratic(mode) for one, mode in zip(users, modes, strict=True)]
        curvature, pulled = (torch.stack(part) for part in zip(*near, strict=True))
        for _ in range(_EM):
            covariance = torch.linalg.inv(curvature + torch.linalg.inv(spread + _LEAST * eye))
            modes = (covariance @ pulled.unsqueeze(2)).squeeze(2)
            seen = (covariance.sum(0) + modes.T @ modes) / len(users)
            spread = share * seen + (1 - share) * found.diagonal(seen)
    return spread


def _choice(users: Sequence[Decided], halves: Sequence[tuple[Decided, ...]], found: Directions) -> tuple[float, float]:
    """Return the trust and the size under which users' later groups are foretold best by other users' spread."""
    losses = {(size, trust): 0.0 for size in _SIZES for trust in _TRUSTS}
    for fold in range(_FOLDS):
        others = [one for number, one in enumerate(users) if number % _FOLDS != fold]
        for trust in _TRUSTS:
            spread = spread_of(others, found, trust)
            for size in _SIZES:
                losses[size, trust] += sum(_foretold(*both, size * spread) for both in halves[fold::_FOLDS])
    # Of equals the smaller.
    size, trust = min(losses, key=lambda choice: (losses[choice], choice))
    return trust, size


def _foretold(early: Decided, late: Decided, spread: Tensor) -> float:
    """Return the mean loss of a user's later groups under the mode that the earlier ones leave."""
    mode = spread.new_zeros(len(spread))
    if spread.any():
        precision = torch.linalg.inv(spread + _LEAST * torch.eye(len(spread), dtype=spread.dtype))
        for _ in range(_ROUNDS):
            curvature, pulled = early.quadratic(mode)
            mode = torch.linalg.solve(curvature + precision, pulled)
    return late.loss(mode)


def _halves(user: UserFeatures) -> tuple[UserFeatures, UserFeatures]:
    middle = -(-len(user.sizes) // 2)
    return user.groups(0, middle), user.groups(middle, len(user.sizes))


@torch.no_grad()
def _decided(user: UserFeatures, found: Directions, offset: Offset, loss: str) -> Decided:
    batch = pad([user])
    return Decided(user.z.double() @ found.project, batch.pick(offset(batch)), user.scores, user.sizes, loss)


def _within(values: Tensor, sizes: Tensor) -> Tensor:
    """Return values less their group's mean, shape (decisions, n)."""
    group = torch.arange(len(sizes)).repeat_interleave(sizes)
    sums = values.new_zeros(len(sizes), values.shape[1]).index_add(0, group, values)
    return values - (sums / sizes.unsqueeze(1))[group]
