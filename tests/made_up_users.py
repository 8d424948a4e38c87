"""Users' features without texts, drawn at random: what tests of heads fit and judge."""

from collections.abc import Sequence

import torch
from defaults import fit_options
from torch.nn import functional as F

from hydra_ray.models.features import UserFeatures
from hydra_ray.models.heads import Head, HeadModel

WIDTH = 12


def make_user(seed: int, sizes: Sequence[int] = (3, 2, 4), width: int = WIDTH) -> UserFeatures:
    """A user of no particular taste: group number n, of so many decisions, asked item n again."""
    random = torch.Generator().manual_seed(seed)
    count = sum(sizes)
    return UserFeatures(
        torch.randn(count, width, generator=random),
        torch.tensor(sizes),
        torch.rand(count, generator=random),
        -torch.rand(count, generator=random),
        tuple(f"item {number}" for number in range(len(sizes))),
    )


def with_taste(taste: torch.Tensor, seed: int, groups: int = 6, size: int = 4) -> UserFeatures:
    """A user who prefers, in every group, what points furthest along their taste, shape (width,)."""
    user = make_user(seed, [size] * groups, len(taste))
    best = (user.z.view(groups, size, -1) @ taste).argmax(dim=1)
    return UserFeatures(user.z, user.sizes, F.one_hot(best, size).flatten().float(), user.priors, user.observation_ids)


def make_model(width: int = WIDTH, seed: int = 0) -> HeadModel:
    """Random but fixed shared head, bases and facets."""
    torch.manual_seed(seed)
    model = HeadModel(width)
    # Training starts at zero.
    model.shared.out.reset_parameters()
    return model.requires_grad_(False)


def make_head(model: HeadModel, kind: str, seed: int, rank: int = 3) -> Head:
    """A head as fitting leaves it."""
    return model.fit(kind, [make_user(seed, width=model.width)], fit_options(rank=rank, steps=20, lr=0.1))[0]


def only(user: UserFeatures, numbers: Sequence[int]) -> UserFeatures:
    """The user's groups of these numbers, in this order."""
    groups = [user.groups(number, number + 1) for number in numbers]
    return UserFeatures(
        *(torch.cat([getattr(group, name) for group in groups]) for name in ("z", "sizes", "scores", "priors")),
        tuple(name for group in groups for name in group.observation_ids),
    )
