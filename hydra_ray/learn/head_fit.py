"""Fits heads of users whom the base has never seen, with the base frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from hydra_ray.learn.groups import Group
from hydra_ray.models.losses import LOSSES
from hydra_ray.models.scorer import Head, Scorer
from hydra_ray.records import UserKey
from hydra_ray.settings import FitSettings


def fit_heads(
    scorer: Scorer,
    groups: Mapping[UserKey, Sequence[Group]],
    settings: FitSettings,
    loss: str,
    show: Callable[[int], None],
) -> dict[UserKey, Head]:
    """Fits a head for each user, all users of a batch in one vectorised optimisation.

    Users share nothing but the frozen base, so each gets the head that fitting it alone gives.

    Args:
        scorer: The frozen base of one role.
        groups: Of each user; a user without groups gets no head, and so the shared answer.
        settings: Steps, rate and pull.
        loss: As the base was trained with.
        show: Told the number of users done.
    """
    users = [user for user in groups if groups[user]]
    heads: dict[UserKey, Head] = {}
    for start in range(0, len(users), settings.users_per_batch):
        batch = users[start : start + settings.users_per_batch]
        heads |= _fit_batch(scorer, {user: groups[user] for user in batch}, settings, loss)
        show(len(heads))
    return heads


def _fit_batch(
    scorer: Scorer, groups: Mapping[UserKey, Sequence[Group]], settings: FitSettings, loss: str
) -> dict[UserKey, Head]:
    flat = [(row, group) for row, own in enumerate(groups.values()) for group in own]
    sizes = torch.tensor([len(group.decisions) for _, group in flat])
    # Each text is encoded once; the optimisation below never touches the encoder.
    z = scorer.encoder.features([texts for _, group in flat for texts in group.decisions])
    owner = torch.tensor([row for row, _ in flat])
    group_of = torch.arange(len(flat)).repeat_interleave(sizes)
    users = owner.repeat_interleave(sizes)
    scores = torch.tensor([score for _, group in flat for score in group.scores], dtype=torch.float32)
    device = next(scorer.shared.parameters()).device
    z, users, scores, group_of = (t.to(device) for t in (z, users, scores, group_of))
    scorer.requires_grad_(False)
    shared = scorer.shared(z)
    bank = scorer.bank(len(groups)).to(device)
    counts = torch.bincount(owner, minlength=len(groups)).to(device)
    weight = 1.0 / counts[owner.to(device)]
    optimizer = torch.optim.Adam(bank.parameters(), lr=settings.lr)
    for _ in range(settings.steps):
        losses = LOSSES[loss](shared + bank(z, users), scores, group_of)
        # A sum over users of each one's own terms: no user's gradient depends on another's data. The
        # pull is a prior, so it weighs as much as 1 / groups of them: little data stays near shared.
        total = (losses * weight).sum() + settings.pull * (bank.penalty() / counts).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
    bank = bank.cpu()
    return {user: bank.row(row) for row, user in enumerate(groups)}
