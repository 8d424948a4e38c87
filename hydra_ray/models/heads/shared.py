"""The head that serves everybody."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SharedHead(nn.Module):
    """shared(z) = w . tanh(W z + b) + a * s: HYDRA's head with one output, and what the user's answers tell.

    s is the last of z's entries, the log share of the user's past answers that say the same (`models.told`). With a
    = 1, where training starts, it is a prior that the rest is added to.

    Args:
        width: Of z.
        hidden: Rows of W.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, 1)
        self.told = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor) -> Tensor:
        """Logits of features of shape (..., width), shape (...)."""
        return self.out(torch.tanh(self.dense(z))).squeeze(-1) + self.told * z[..., -1]
