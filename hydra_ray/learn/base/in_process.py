"""Trains one role in this process, from features that are there: what Ray Train does with one worker, without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import torch

from hydra_ray.learn.base.epochs import Epochs
from hydra_ray.learn.base.parallel import Replicated
from hydra_ray.learn.base.rows import group_rows, hold_back, read_beside
from hydra_ray.learn.base.shared_parts import fit_commons
from hydra_ray.learn.base.start import start_of
from hydra_ray.learn.base.trainee import Trainee
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.models.base import ADAPTER
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import UserKey
from hydra_ray.settings import BaseSettings, Settings


def fit_here(
    groups: Sequence[RankingGroup],
    base: BaseSettings,
    *,
    prior_weight: float | None,
    seed: int,
    encoder: TextsEncoder,
) -> Scorer:
    """Return the scorer of the adapter, trained on groups; nobody watches, and nothing is kept of it on the way.

    Args:
        groups: Groups of the training users, at least one.
        base: Settings of the base, whose encoder is frozen.
        prior_weight: Weight of what is known before a head scores; None has it learnt.
        seed: Seed of initial heads, shuffling and drops.
        encoder: Frozen encoder that gives the groups' features.
    """
    assert encoder.frozen, "a scorer of its own changes no encoder that others use"
    users = sorted({group.user for group in groups})
    beside = read_beside(groups, base)
    rows, _ = hold_back(group_rows(groups, users, beside), seed)
    torch.manual_seed(seed)
    start = start_of(ADAPTER, rows, base, beside, prior_weight)
    trainee = Trainee(base, len(users), prior_weight, encoder, beside, start)
    epochs = Epochs(Replicated(trainee, trainee), base, -(-len(rows) // base.batch_groups), seed, torch.device("cpu"))
    for epoch in range(base.epochs):
        for _ in epochs.train(epoch, 0, _batches(rows, base.batch_groups, seed + epoch)):
            pass
    trainee.eval()
    trainee.scorer.requires_grad_(False)
    return trainee.scorer


def train_adapter_here(
    groups: Mapping[UserKey, Sequence[RankingGroup]], settings: Settings, encoder: TextsEncoder, seed: int
) -> Scorer:
    """Return an adapter's scorer with what heads of the settings' kind share, trained on some users.

    Args:
        groups: Groups by user, at least one.
        settings: Settings of base, fit and method.
        encoder: Frozen encoder that gives the groups' features.
        seed: Seed of the trainings.
    """
    flat = [group for own in groups.values() for group in own]
    weight = settings.method.prior_weights[ADAPTER]
    scorer = fit_here(flat, settings.base, prior_weight=weight, seed=seed, encoder=encoder)
    if scorer.heads.common(settings.fit.head.kind) is not None:
        fit_commons(scorer, groups, settings.base.loss, seed)
    return scorer


def _batches(rows: Sequence[dict[str, Any]], size: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    order = list(range(len(rows)))
    Random(seed).shuffle(order)
    for start in range(0, len(order), size):
        yield [rows[place] for place in order[start : start + size]]
