"""Simulated users whose private preference is known: features of the encoder's form, and choices with noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydra_ray.learn.base.trainee import Trainee, optimizer_of
from hydra_ray.models.features import UserFeatures
from hydra_ray.models.heads import HeadModel
from hydra_ray.models.heads.bank import NO_USER
from hydra_ray.models.lexical import LEXICAL, log_share
from hydra_ray.models.losses import LOSSES, TEMPERATURE
from hydra_ray.settings import BaseSettings

# Answers that the LLM samples for a query.
_SAMPLES = 8
# What everybody has in common: deviations of the shared preference among a query's candidates, in logits.
_SHARED, _WORDS, _VOTE = 1.0, 1.0, 0.5


@dataclass(frozen=True, slots=True)
class World:
    """How users differ.

    Attributes:
        name: In the table.
        size: Deviation of a user's own preference among a query's candidates, in logits.
        on: What it is about: meanings of texts, or the numbers beside them (words and votes).
        rank: Number of tastes that users mix; None: of any direction.
        share: Share of users who have one; the others are as everybody is.
    """

    name: str
    size: float
    on: Literal["meanings", "numbers"] = "meanings"
    rank: int | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class SimulatedUser:
    """A user with all that a head is fitted from and judged by.

    Attributes:
        features: Features of their groups.
        tastes: What their own preference is a weighted sum of, weights standard normal, shape (decisions, tastes).
        utilities: Their true utilities, shape (decisions,): a choice is drawn from the softmax of a group's.
    """

    features: UserFeatures
    tastes: Tensor
    utilities: Tensor


class TasteWorld:
    """Draws users of one world.

    Args:
        world: How users differ.
        encoding: Width of one text's encoding; z is three of them and the lexical numbers.
        answers: Candidates of a query, which come again in every group, as a closed answer set's do.
        seed: Seed of all that the users have in common.
    """

    def __init__(self, world: World, encoding: int, answers: int, seed: int) -> None:
        self.world, self._encoding = world, encoding
        random = torch.Generator().manual_seed(seed)
        # Directions of texts' encodings are far from equally frequent.
        self._spectrum = (1 + torch.arange(encoding)) ** -0.35
        self._answers = self._texts(answers, random)
        width = 3 * encoding
        z, numbers = self._decisions(200, random)
        deviation = _within(z, answers).square().mean(0).sum().sqrt()
        self._number_scale = _within(numbers, answers).std(0)
        self._shared = self._unit(torch.randn(width, 1, generator=random), z) * _SHARED
        if world.on == "numbers":
            self._tastes = None
        elif world.rank is None:
            self._tastes = torch.eye(width) * world.size / deviation
        else:
            self._tastes = self._unit(torch.randn(width, world.rank, generator=random), z)
            self._tastes = self._tastes * world.size / world.rank**0.5

    @property
    def width(self) -> int:
        """Width of z."""
        return 3 * self._encoding + LEXICAL

    def user(self, seed: int, groups: int) -> SimulatedUser:
        """Draw a user with some groups: the answer that they chose has score 1, the others 0."""
        random = torch.Generator().manual_seed(seed)
        z, numbers = self._decisions(groups, random)
        scaled = numbers / self._number_scale
        tastes = scaled * self.world.size / 2 if self._tastes is None else z @ self._tastes
        if float(torch.rand((), generator=random)) >= self.world.share:
            tastes = torch.zeros_like(tastes[:, :1])
        own = tastes @ torch.randn(tastes.shape[1], generator=random)
        size = len(self._answers)
        utilities = (z @ self._shared).squeeze(1) + _WORDS * scaled[:, 0] + _VOTE * numbers[:, LEXICAL] + own
        noisy = utilities - (-torch.rand(len(utilities), generator=random).log()).log()
        chosen = noisy.view(groups, size).argmax(dim=1)
        features = UserFeatures(
            torch.cat([z, numbers[:, :LEXICAL]], dim=1),
            torch.full((groups,), size),
            F.one_hot(chosen, size).flatten().float(),
            numbers[:, LEXICAL],
            tuple(str(number) for number in range(groups)),
        )
        return SimulatedUser(features, tastes, utilities)

    def _decisions(self, groups: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the encoder's part of z, and lexical numbers with the votes' prior, of some groups."""
        size = len(self._answers)
        candidate = self._answers.repeat(groups, 1)
        query = self._texts(groups, random).repeat_interleave(size, dim=0)
        past = self._texts(groups, random).repeat_interleave(size, dim=0)
        z = torch.cat([candidate, candidate * query, candidate * past], dim=1)
        words = torch.randn(len(z), LEXICAL, generator=random) * torch.tensor([1.5, 0.7, 0.3])
        said = torch.softmax(torch.randn(groups, size, generator=random), dim=1)
        votes = torch.zeros(groups, size).scatter_add_(
            1, said.multinomial(_SAMPLES, replacement=True, generator=random), torch.ones(groups, _SAMPLES)
        )
        priors = torch.tensor([log_share(count, _SAMPLES) for count in votes.flatten().tolist()])
        return z, torch.cat([words, priors.unsqueeze(1)], dim=1)

    def _texts(self, count: int, random: torch.Generator) -> Tensor:
        drawn = torch.randn(count, self._encoding, generator=random) * self._spectrum
        return F.normalize(drawn, dim=1) * self._encoding**0.5

    def _unit(self, directions: Tensor, z: Tensor) -> Tensor:
        """Return directions of deviation 1 among a group's candidates."""
        return directions / _within(z @ directions, len(self._answers)).std(0)


class _NoEncoder(nn.Module):
    """Stands where the encoder does: the features are there."""

    frozen = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width


def train_base(users: list[UserFeatures], base: BaseSettings, seed: int) -> HeadModel:
    """Return a shared head trained as `hydra-ray train` does it, with users' heads dropped at random beside it."""
    torch.manual_seed(seed)
    trainee = Trainee(base, len(users), None, _NoEncoder(users[0].z.shape[1]))  # type: ignore[arg-type]
    groups = [(row, one.groups(at, at + 1)) for row, one in enumerate(users) for at in range(len(one.sizes))]
    optimizer = optimizer_of(trainee, base)
    total, step = base.epochs * -(-len(groups) // base.batch_groups), 0
    for _ in range(base.epochs):
        order = torch.randperm(len(groups)).tolist()
        for start in range(0, len(order), base.batch_groups):
            # Up over a tenth of all steps, then down to nothing.
            rate = min((step + 1) / max(1, total // 10), (total - step) / (0.9 * total))
            for part, full in zip(optimizer.param_groups, (base.lr, base.head_lr, 10 * base.head_lr), strict=True):
                part["lr"] = rate * full
            _step(trainee, [groups[at] for at in order[start : start + base.batch_groups]], base)
            nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
            optimizer.step()
            step += 1
    return trainee.scorer.heads.eval().requires_grad_(False)


def _step(trainee: Trainee, groups: list[tuple[int, UserFeatures]], base: BaseSettings) -> None:
    own = [one for _, one in groups]
    sizes = torch.cat([one.sizes for one in own])
    group = torch.arange(len(own)).repeat_interleave(sizes)
    row = torch.tensor([row for row, _ in groups])
    rows = row.masked_fill(torch.rand(len(row)) < base.user_drop, NO_USER)[group]
    texts = {"features": torch.cat([one.z for one in own]).float(), "priors": torch.cat([one.priors for one in own])}
    texts["beside"] = texts["features"][:, :0]
    trainee.zero_grad(set_to_none=True)
    scores = torch.cat([one.scores for one in own])
    (LOSSES[base.loss](trainee(texts, rows), scores, group, TEMPERATURE).sum() / len(own)).backward()


def _within(values: Tensor, size: int) -> Tensor:
    """Return values less their group's mean, shape as before."""
    grouped = values.view(-1, size, values.shape[1])
    return (grouped - grouped.mean(1, keepdim=True)).flatten(0, 1)
