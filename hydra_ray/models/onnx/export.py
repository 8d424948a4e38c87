"""A backbone as an ONNX model: torch writes it, and it is compared with torch's own."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Gives token ids and masks of texts by the names that the backbone takes them by, each of shape (texts, tokens).
TokensOf = Callable[[Sequence[str]], Mapping[str, Tensor]]

# Traced with two texts; compared with other numbers of texts and of tokens, one of them as many as may be.
_TRACED = ("two cats meet a robot on the way home", "drama")
_COMPARED = (("a",), ("", "a king weeps", "the last train to the sea, and who was on it"), ("x " * 512,))
# Share of the largest number: float32 differs by a hundredth of that, a graph that is wrong by far more.
_OFF = 1e-3


class UnlikeError(Exception):
    """An ONNX model that computes something else than the backbone that it was written of."""


class _States(nn.Module):
    """A backbone as a function of tensors in an order."""

    def __init__(self, backbone: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.names = tuple(names)

    def forward(self, *tokens: Tensor) -> Tensor:
        states: Tensor = self.backbone(**dict(zip(self.names, tokens, strict=True))).last_hidden_state
        return states


@torch.no_grad()
def export(backbone: nn.Module, tokens_of: TokensOf) -> bytes:
    """Return a backbone as an ONNX model of any number of texts and tokens, weights and all.

    Args:
        backbone: A Hugging Face encoder, on the CPU.
        tokens_of: Tokenises.
    """
    tokens = tokens_of(_TRACED)
    open_ends = {0: "texts", 1: "tokens"}
    written = io.BytesIO()
    with warnings.catch_warnings():
        # What tracing takes for constant `compare` finds. And that this way of writing is old: the new one takes eight
        # times as long and one more package, for a model that is no faster.
        warnings.simplefilter("ignore")
        file: Any = written
        torch.onnx.export(
            _States(backbone, list(tokens)),
            tuple(tokens.values()),
            file,
            input_names=list(tokens),
            output_names=["states"],
            dynamic_axes=dict.fromkeys((*tokens, "states"), open_ends),
            dynamo=False,
        )
    return written.getvalue()


@torch.no_grad()
def compare(run: Callable[[Mapping[str, Tensor]], Tensor], backbone: nn.Module, tokens_of: TokensOf) -> None:
    """Compare what an ONNX model and its backbone make of some texts.

    Args:
        run: Runs the model: the last layer's states of tokens, shape (texts, tokens, width).
        backbone: The backbone that it was written of.
        tokens_of: Tokenises.

    Raises:
        UnlikeError: They differ by more than float32 does.
    """
    for texts in _COMPARED:
        tokens = tokens_of(texts)
        expected = backbone(**tokens).last_hidden_state
        read = tokens["attention_mask"].bool()
        off = float((run(tokens) - expected)[read].abs().max() / expected[read].abs().max())
        # Not a number is never within.
        if not off <= _OFF:
            raise UnlikeError(f"its states of {len(texts)} texts are off by {off:.2g} of torch's")
