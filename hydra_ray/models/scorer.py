"""Encoder and heads together: how useful or preferred something is for a user."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hydra_ray.models.encoder import Texts, TextsEncoder
from hydra_ray.models.heads import Head, HeadModel


class Scorer(nn.Module):
    """logit = shared(z) + delta_u(z) with z = encoder(texts).

    Args:
        encoder: Encoder that makes z.
        trained_in: Arithmetic of training, float32 or bfloat16; None is the one that the encoder runs in.
    """

    def __init__(self, encoder: TextsEncoder, trained_in: str | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.trained_in = trained_in
        self.heads = HeadModel(encoder.width)

    @torch.inference_mode()
    def score(self, decisions: Sequence[Texts], heads: Sequence[Head | None]) -> Tensor:
        """Return the logit of each decision under its own user's head.

        Args:
            decisions: Texts to score, each with the texts that it is compared with.
            heads: Head of each decision's user, None for the shared answer; those of one user share one object.

        Returns:
            Logits, shape (decisions,), float32, on the CPU.
        """
        return self.heads.logits(self.encoder.features(decisions), heads)

    def save(self, folder: Path) -> None:
        """Write encoder and heads; no pickle, and no user's head."""
        self.encoder.save(folder / "encoder")
        self.heads.save(folder)
        read = self.encoder
        trained_in = self.trained_in or read.arithmetic
        encoder = {"max_tokens": read.max_tokens, "precision": trained_in, "lexical": read.lexical}
        (folder / "scorer.json").write_text(json.dumps({"encoder": encoder}, indent=2))

    @classmethod
    def load(cls, folder: Path, precision: str) -> Scorer:
        """Read what `save` wrote, in evaluation mode, onto the GPU where there is one.

        Args:
            folder: Folder that holds one role of a base.
            precision: Arithmetic to run the encoder in, whatever it was trained in: float32, bfloat16, or auto for what
                suits the processor at hand.
        """
        about = json.loads((folder / "scorer.json").read_text())["encoder"]
        encoder = TextsEncoder.load(str(folder / "encoder"), about["max_tokens"], precision, about["lexical"])
        scorer = cls(encoder, about["precision"])
        scorer.heads = HeadModel.load(folder)
        return scorer.to(scorer.heads.device).eval()
