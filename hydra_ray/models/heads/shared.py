"""The head that serves everybody."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def first_weights(single: int) -> Tensor:
    """Return the weights of single numbers before anything is learnt: (1, 0, ...)."""
    return torch.eye(single)[0]


class SharedHead(nn.Module):
    """shared(z) = w . tanh(W z + b) + a . s: HYDRA's head with one output, and a weight for each single number.

    s are the last of z's entries: the lexical features (`models.lexical`), and then the numbers beside texts
    (`models.beside`) that the scorer reads. Training starts at a = (1, 0, ...) and w = 0: the log share of the user's
    past answers that say the same is a prior that the rest is added to, as far as the data tells more.

    Args:
        width: Width of z.
        hidden: Number of rows of W.
        single: Number of entries of s, at least one.
    """

    def __init__(self, width: int, hidden: int, single: int) -> None:
        super().__init__()
        self._single = single
        self.dense = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.lexical = nn.Parameter(first_weights(single))

    def forward(self, z: Tensor) -> Tensor:
        """Return logits, shape (...), of features of shape (..., width)."""
        return self.out(torch.tanh(self.dense(z))).squeeze(-1) + z[..., -self._single :] @ self.lexical
