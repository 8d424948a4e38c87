"""The head that serves everybody."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SharedHead(nn.Module):
    """shared(z) = w . tanh(W z + b), the form of HYDRA's head with one output.

    Args:
        width: Of z.
        hidden: Rows of W.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Logits of features of shape (..., width), shape (...)."""
        return self.out(torch.tanh(self.dense(z))).squeeze(-1)
