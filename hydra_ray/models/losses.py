"""Losses over groups: what competes for one query, of which some are better than others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Temperature of the base's own training; heads have `fit.temperature`. Scores are in [0, 1]: at 0.03 the better of two
# texts 0.1 apart in ROUGE gets 97 % of the target.
TEMPERATURE = 0.03


def listwise(logits: Tensor, scores: Tensor, group: Tensor, temperature: float) -> Tensor:
    """Return cross-entropy of softmax(logits) to softmax(scores / temperature) by group (ListNet, Cao et al. 2007).

    Args:
        logits: Logit of each decision, shape (decisions,).
        scores: Score of each decision, 0 to 1, shape (decisions,).
        group: Number of each decision's group, 0 to groups - 1, shape (decisions,).
        temperature: Divides the scores; the smaller it is, the more the best counts than the next.

    Returns:
        Loss of each group, shape (groups,).
    """
    target = group_log_softmax(scores / temperature, group).exp()
    return _group_sum(-target * group_log_softmax(logits, group), group)


def bce(logits: Tensor, scores: Tensor, group: Tensor, temperature: float) -> Tensor:
    """Return mean binary cross-entropy by group; arguments as `listwise`. A score is a label's probability as it is."""
    loss = F.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    return _group_sum(loss, group) / _group_sum(torch.ones_like(loss), group)


def group_log_softmax(values: Tensor, group: Tensor) -> Tensor:
    """Return log softmax of values within each group, shape (decisions,)."""
    groups = int(group.max()) + 1
    top = values.new_full((groups,), -torch.inf).scatter_reduce(0, group, values.detach(), "amax")
    shifted = values - top[group]
    return shifted - _group_sum(shifted.exp(), group).log()[group]


def _group_sum(values: Tensor, group: Tensor) -> Tensor:
    return values.new_zeros(int(group.max()) + 1).index_add(0, group, values)


LOSSES = {"listwise": listwise, "bce": bce}
