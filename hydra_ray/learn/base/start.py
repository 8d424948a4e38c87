"""Where the weights of single numbers start: at what fits the training groups best, with nothing else learnt yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hydra_ray.models.base import ADAPTER
from hydra_ray.models.heads.shared import first_weights
from hydra_ray.models.lexical import LEXICAL, lexical_features
from hydra_ray.models.losses import LOSSES, TEMPERATURE
from hydra_ray.settings import BaseSettings

# Strength of the pull towards zero, of weights of numbers that are one wide within groups.
_PULL = 0.01
_ROUNDS = 100


def start_of(
    role: str, rows: Sequence[dict[str, Any]], base: BaseSettings, beside: Sequence[str], prior_weight: float | None
) -> tuple[float, ...]:
    """Return weights of the single numbers and of the prior to start a training at; none where they are not fitted.

    Args:
        role: Reranker or adapter: the adapter's are fitted.
        rows: Groups that are trained on, as `group_rows` gives them.
        base: Settings of the base.
        beside: Names of the numbers beside texts that are read.
        prior_weight: Weight of the prior; None has it fitted, too.
    """
    if role != ADAPTER or not base.starts_fitted:
        return ()
    return fitted_start(rows, base.lexical, len(beside), prior_weight)


def fitted_start(
    rows: Sequence[dict[str, Any]], lexical: bool, beside: int, prior_weight: float | None
) -> tuple[float, ...]:
    """Return weights a of the single numbers and b of the prior that fit best where nothing else is read.

    They minimise the listwise loss of logit = a . s + b * prior, and 0.01 times their squares. The problem is convex
    and has a handful of unknowns, so it is solved (L-BFGS), where an optimiser of many weights would take a few steps.
    Each number counts in its spread within groups: what all that compete have in common decides nothing.

    Args:
        rows: Groups that are trained on, as `group_rows` gives them.
        lexical: Whether words are read.
        beside: How many numbers beside texts are read.
        prior_weight: Weight of the prior; None has it fitted, too.

    Returns:
        LEXICAL + beside weights and that of the prior. Numbers that never differ within a group keep the weight that
        they have without a fit.
    """
    sizes = torch.tensor([len(row["scores"]) for row in rows])
    group = torch.arange(len(rows)).repeat_interleave(sizes)
    numbers = torch.tensor([_numbers(row, place, lexical) for row in rows for place in range(len(row["scores"]))])
    scores = torch.tensor([score for row in rows for score in row["scores"]], dtype=torch.float64)
    within = _within(numbers.double(), group, sizes)
    spread = within.square().mean(0).sqrt()
    given = torch.tensor([*first_weights(LEXICAL + beside).tolist(), 1.0 if prior_weight is None else prior_weight])
    known = spread < 1e-9
    known[-1] |= prior_weight is not None
    offset = within[:, -1] * given[-1] if prior_weight is not None else torch.zeros(len(within))
    read = within[:, ~known] / spread[~known]
    weights = torch.zeros(read.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = LOSSES["listwise"](read @ weights + offset, scores, group, TEMPERATURE).mean()
        whole: Tensor = loss + _PULL * weights.square().sum()
        whole.backward()
        return whole

    if read.shape[1]:
        optimizer.step(objective)
    found = given.double()
    found[~known] = weights.detach() / spread[~known]
    return tuple(found.tolist())


def _numbers(row: dict[str, Any], place: int, lexical: bool) -> list[float]:
    of_words = (
        lexical_features(row["judged"][place], row["by"][place], row["and_by"][place]) if lexical else (0.0,) * LEXICAL
    )
    beside = row["beside"][place] if "beside" in row else ()
    return [*of_words, *beside, row["priors"][place]]


def _within(numbers: Tensor, group: Tensor, sizes: Tensor) -> Tensor:
    """Return each number less its mean over the group."""
    sums = numbers.new_zeros(len(sizes), numbers.shape[1]).index_add(0, group, numbers)
    return numbers - (sums / sizes.unsqueeze(1))[group]
