"""Losses as likelihoods: with slope and curvature, as Newton's method wants them."""

from __future__ import annotations

import torch
from torch import Tensor

from hydra_ray.models.losses import LOSSES, group_log_softmax


class Listwise:
    """`losses.listwise` as a likelihood, its target computed once."""

    def __init__(self, scores: Tensor, group: Tensor, temperature: float) -> None:
        self._group, self._groups = group, int(group.max()) + 1
        self._target = group_log_softmax(scores / temperature, group).exp()

    def losses(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of each group, and the log probabilities that `terms` goes on from."""
        logp = group_log_softmax(logits, self._group)
        return logits.new_zeros(self._groups).index_add(0, self._group, -self._target * logp), logp

    def terms(self, logp: Tensor, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return each decision's slope of the loss by its logit, and weight and direction of its curvature."""
        p = logp.exp()
        centre = phi.new_zeros(self._groups, phi.shape[1]).index_add(0, self._group, p.unsqueeze(1) * phi)
        return p - self._target, p, phi - centre[self._group]


class Bce:
    """`losses.bce` as a likelihood."""

    def __init__(self, scores: Tensor, group: Tensor, temperature: float) -> None:
        self._scores, self._group, self._temperature = scores, group, temperature
        self._sizes = torch.bincount(group)[group]

    def losses(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of each group, and the logits that `terms` goes on from."""
        return LOSSES["bce"](logits, self._scores, self._group, self._temperature), logits

    def terms(self, logits: Tensor, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return slope, weight and direction of each decision, in the form of `Listwise.terms`."""
        p = logits.sigmoid()
        return (p - self._scores) / self._sizes, p * (1 - p) / self._sizes, phi


LIKELIHOODS: dict[str, type[Listwise] | type[Bce]] = {"listwise": Listwise, "bce": Bce}
