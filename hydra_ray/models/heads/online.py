"""Makes a posterior anew from all kept observations of a user: after feedback or forgetting, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hydra_ray.models.heads.bases import UNIT_PULL, Bases, posterior
from hydra_ray.models.heads.head import Head
from hydra_ray.models.losses import TEMPERATURE


def pack(observed: Tensor) -> bytes:
    """Return one group's observations, from `bases.observations`, as the bytes that are kept."""
    return observed.cpu().contiguous().numpy().tobytes()


def unpack(kept: Sequence[bytes], bases: int) -> tuple[Tensor, Tensor]:
    """Return the observations of several groups as `posterior` takes them.

    Args:
        kept: Bytes from `pack`, one entry for each group.
        bases: Number of bases that the observations were made with.

    Returns:
        Observations of all decisions, shape (decisions, bases + 2), float16, and each decision's group,
        shape (decisions,).
    """
    groups = [np.frombuffer(blob, np.float16).reshape(-1, bases + 2) for blob in kept]
    sizes = torch.tensor([len(group) for group in groups])
    return torch.from_numpy(np.concatenate(groups)), torch.arange(len(groups)).repeat_interleave(sizes)


def head_of(kept: Sequence[bytes], bases: int, loss: str, about: Mapping[str, float]) -> Head | None:
    """Return the head that a user's observations give; None without any, which is the shared answer.

    Args:
        kept: All of the user's observations, in any order.
        bases: Number of bases that the observations were made with.
        loss: Loss that the base was trained with, a key of `LOSSES`.
        about: Numbers kept with the head; `pull` and `temperature` among them are those of the fit.
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
