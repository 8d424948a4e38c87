"""A posterior anew from all that is kept of its user: what feedback and forgetting come to, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hydra_ray.models.heads.bases import UNIT_PULL, Bases, posterior
from hydra_ray.models.heads.head import Head
from hydra_ray.models.losses import TEMPERATURE


def pack(observed: Tensor) -> bytes:
    """One group's observations, as `bases.observations` gives them, as they are kept."""
    return observed.cpu().contiguous().numpy().tobytes()


def unpack(kept: Sequence[bytes], bases: int) -> tuple[Tensor, Tensor]:
    """Evidence of several groups as `posterior` takes it.

    Args:
        kept: What `pack` gave, a group each.
        bases: How many the observations were made with.

    Returns:
        Evidence of all decisions, shape (decisions, bases + 2), float16, and each decision's group.
    """
    groups = [np.frombuffer(blob, np.float16).reshape(-1, bases + 2) for blob in kept]
    sizes = torch.tensor([len(group) for group in groups])
    return torch.from_numpy(np.concatenate(groups)), torch.arange(len(groups)).repeat_interleave(sizes)


def head_of(kept: Sequence[bytes], bases: int, loss: str, about: Mapping[str, float]) -> Head | None:
    """The head that a user's observations gives; None without any, which is the shared answer.

    Args:
        kept: All of the user's observations, in any order.
        bases: How many the observations were made with.
        loss: As the base was trained with.
        about: Kept with the head; its `pull` and `temperature` are fitted with.
    """
    if not kept:
        return None
    observed, group = unpack(kept, bases)
    # Heads of earlier versions say neither.
    fitted = posterior(
        observed,
        group,
        owner=torch.zeros(len(kept), dtype=torch.long),
        users=1,
        pull=about.get("pull", UNIT_PULL),
        loss=loss,
        temperature=about.get("temperature", TEMPERATURE),
    )
    return Bases().apart(fitted, about)[0]
