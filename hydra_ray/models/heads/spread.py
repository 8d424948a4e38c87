"""How users' own preferences spread around the shared one: a Gaussian over linear heads, by empirical Bayes.

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

from hydra_ray.models.features import UserFeatures
from hydra_ray.models.heads.bases import BasisHeads
from hydra_ray.models.heads.likelihoods import LIKELIHOODS, Bce, Listwise
from hydra_ray.models.heads.model import HeadModel
from hydra_ray.models.losses import TEMPERATURE

# Directions of the encoder's features that are looked at, and decisions that they are found with.
_DIRECTIONS, _MOST_DECISIONS = 64, 16_384
# Rounds of Newton's method, no logit of which moves farther at once, and of EM on the quadratic that each leaves.
_ROUNDS, _FARTHEST, _EM = 6, 3.0, 10
# Variance that EM begins with, in logits squared; and what keeps a variance from being none.
_FIRST, _LEAST = 0.25, 1e-6
# Tried: users whose correlations weigh as much as the diagonal's, as a share of the directions; sizes of the spread.
_TRUSTS, _SIZES, _FOLDS = (0.0, 4.0), (0.0, 0.25, 0.5, 1.0, 2.0, 4.0), 4
# tanh is straight to far beyond what values come to.
_STRAIGHT = 32.0


def fit_bases(users: Sequence[UserFeatures], model: HeadModel, loss: str) -> BasisHeads:
    """Fit basis heads in whose space users' weights are N(0, 1), the prior of kind `bases`.

    Users spread around what others tell of them, a linear preference that is fitted without them: around the shared
    head, which has learnt from these very users, they would seem nearer than new users will be.

    How far the users' correlations are trusted, and the size of the spread, are those under which users' later groups
    are best foretold from their earlier ones, by a spread that was learnt from others. The size may be zero: then users
    do not differ in what can be foretold, and heads are silent.

    Args:
        users: Features of training users, each with at least two groups; at least `_FOLDS` users.
        model: The frozen base, of which the weight of the priors is taken.
        loss: Loss that the base was trained with, a key of `LOSSES`.
    """
    common = BasisHeads(model.width)
    found = Directions.of(users, len(model.shared.lexical))
    everybody = [
        Decided(one.z.double() @ found.project, offset, one.scores, one.sizes, loss)
        for one, offset in zip(users, _offsets(users, found, model.prior.item(), loss), strict=True)
    ]
    trust, size = _choice(everybody, found)
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
        project: The map, shape (width, directions), float64. The last directions are the lexical numbers and those
            beside texts, at a deviation of at most 1 among what competes for a query; the others are the encoder's, at
            1 for all together.
        numbers: How many are such numbers.
    """

    project: Tensor
    numbers: int

    @classmethod
    def of(cls, users: Sequence[UserFeatures], numbers: int) -> Directions:
        """Find the directions that what competes for a query differs in most: principal ones within groups."""
        z = torch.cat([_within(one.z.float(), one.sizes) for one in users])
        if len(z) > _MOST_DECISIONS:
            z = z[torch.linspace(0, len(z) - 1, _MOST_DECISIONS).long()]
        width = z.shape[1] - numbers
        values, vectors = torch.linalg.eigh((z[:, :width].T @ z[:, :width]).double() / len(z))
        kept = min(_DIRECTIONS, width)
        project = torch.zeros(z.shape[1], kept + numbers, dtype=torch.double)
        project[:width, :kept] = vectors.flip(1)[:, :kept] / values.sum().clamp(min=_LEAST).sqrt()
        deviation = z[:, width:].double().square().mean(0).sqrt()
        # A number that never differs says nothing, and one that seldom does is not blown up.
        project[width:, kept:] = torch.diag(torch.where(deviation > 1e-3, 1 / deviation.clamp(min=0.1), 0.0))
        return cls(project, numbers)

    def __len__(self) -> int:
        return self.project.shape[1]

    def diagonal(self, covariance: Tensor) -> Tensor:
        """Return the diagonal nearest to a covariance: one variance for the encoder's directions, others apart."""
        variances = covariance.diagonal().clone()
        encoded = len(self) - self.numbers
        variances[:encoded] = variances[:encoded].mean()
        return torch.diag(variances)


class Decided:
    """One user's decisions along the directions.

    Args:
        x: Features along the directions, shape (decisions, directions), float64.
        offset: Logits that deltas are added to, shape (decisions,), float64.
        scores: Scores, shape (decisions,).
        sizes: Number of decisions of each group, shape (groups,).
        loss: Key of `LOSSES`.
    """

    def __init__(self, x: Tensor, offset: Tensor, scores: Tensor, sizes: Tensor, loss: str) -> None:
        group = torch.arange(len(sizes)).repeat_interleave(sizes)
        self._x, self._offset, self._scores, self._sizes, self._loss = x, offset, scores, sizes, loss
        self._likelihood: Listwise | Bce = LIKELIHOODS[loss](scores.double(), group, TEMPERATURE)

    @property
    def moment(self) -> Tensor:
        """Second moments of x within groups, by group, shape (directions, directions)."""
        apart = _within(self._x, self._sizes)
        return apart.T @ apart / len(self._sizes)

    def quadratic(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return H and b of the loss near weights v, which is w . H w / 2 - b . w there, up to a constant."""
        _, known = self._likelihood.losses(self._offset + self._x @ v)
        error, weight, spread = self._likelihood.terms(known, self._x)
        curvature = (weight.unsqueeze(1) * spread).T @ spread
        return curvature, curvature @ v - self._x.T @ error

    def share(self, step: Tensor) -> float:
        """Return how much of a step of the weights may be taken at once: no further than the quadratic holds."""
        return min(1.0, _FARTHEST / max(float((self._x @ step).abs().max()), _LEAST))

    def loss(self, v: Tensor) -> float:
        """Return the mean loss of the groups under weights v."""
        return float(self._likelihood.losses(self._offset + self._x @ v)[0].mean())

    def halves(self) -> tuple[Decided, Decided]:
        """Return the earlier and the later groups, each apart; of an odd number the earlier are one more."""
        middle = -(-len(self._sizes) // 2)
        at = int(self._sizes[:middle].sum())
        early, late = (
            Decided(self._x[part], self._offset[part], self._scores[part], self._sizes[groups], self._loss)
            for part, groups in ((slice(at), slice(middle)), (slice(at, None), slice(middle, None)))
        )
        return early, late


def spread_of(users: Sequence[Decided], found: Directions, trust: float) -> Tensor:
    """Return the covariance of users' weights, shape (directions, directions), float64.

    Args:
        users: What each user decided.
        found: The directions.
        trust: Weight of correlations among the users: as many times their number over the number of directions.
    """
    trusted = trust * len(users) / (trust * len(users) + len(found))
    eye = torch.eye(len(found), dtype=torch.double)
    spread, modes = _FIRST * eye, eye.new_zeros(len(users), len(found))
    for _ in range(_ROUNDS):
        start = modes
        near = [one.quadratic(mode) for one, mode in zip(users, start, strict=True)]
        curvature, pulled = (torch.stack(part) for part in zip(*near, strict=True))
        for _ in range(_EM):
            covariance = torch.linalg.inv(curvature + torch.linalg.inv(spread + _LEAST * eye))
            wanted = (covariance @ pulled.unsqueeze(2)).squeeze(2) - start
            share = torch.tensor([one.share(step) for one, step in zip(users, wanted, strict=True)]).unsqueeze(1)
            modes = start + share * wanted
            seen = (covariance.sum(0) + modes.T @ modes) / len(users)
            spread = trusted * seen + (1 - trusted) * found.diagonal(seen)
    return spread


def _offsets(users: Sequence[UserFeatures], found: Directions, prior_weight: float, loss: str) -> list[Tensor]:
    """Return what other users tell of each user's decisions, with the weighted priors, shapes (decisions,)."""
    x = [one.z.double() @ found.project for one in users]
    known = [prior_weight * one.priors.double() for one in users]
    decided = [
        Decided(own, prior, one.scores, one.sizes, loss) for own, prior, one in zip(x, known, users, strict=True)
    ]
    offsets = list(known)
    for fold in range(_FOLDS):
        common = _common([one for number, one in enumerate(decided) if number % _FOLDS != fold], len(found))
        for number in range(fold, len(users), _FOLDS):
            offsets[number] = known[number] + x[number] @ common
    return offsets


def _common(users: Sequence[Decided], directions: int) -> Tensor:
    """Return the mode of weights that all users have together, under N(0, 1)."""
    weights = torch.zeros(directions, dtype=torch.double)
    for _ in range(_ROUNDS):
        near = [one.quadratic(weights) for one in users]
        curvature, pulled = (torch.stack(part).sum(0) for part in zip(*near, strict=True))
        step = torch.linalg.solve(curvature + torch.eye(directions, dtype=torch.double), pulled) - weights
        weights = weights + min(one.share(step) for one in users) * step
    return weights


def _choice(users: Sequence[Decided], found: Directions) -> tuple[float, float]:
    """Return the trust and the size under which users' later groups are foretold best by other users' spread."""
    losses = {(size, trust): 0.0 for size in _SIZES for trust in _TRUSTS}
    halves = [one.halves() for one in users]
    for fold in range(_FOLDS):
        others = [one for number, one in enumerate(users) if number % _FOLDS != fold]
        for trust in _TRUSTS:
            spread = spread_of(others, found, trust)
            for size in _SIZES:
                losses[size, trust] += sum(
                    _foretold(early, late, size * spread) for early, late in halves[fold::_FOLDS]
                )
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
            step = torch.linalg.solve(curvature + precision, pulled) - mode
            mode = mode + early.share(step) * step
    return late.loss(mode)


def _within(values: Tensor, sizes: Tensor) -> Tensor:
    """Return values less their group's mean, shape (decisions, n)."""
    group = torch.arange(len(sizes)).repeat_interleave(sizes)
    sums = values.new_zeros(len(sizes), values.shape[1]).index_add(0, group, values)
    return values - (sums / sizes.unsqueeze(1))[group]
