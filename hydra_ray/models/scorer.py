"""Encoder and heads together: how useful or preferred something is for a user."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hydra_ray.models.beside import Beside, beside_numbers
from hydra_ray.models.computing import Computing
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.heads import Head, HeadModel
from hydra_ray.models.layout import Texts
from hydra_ray.models.lexical import LEXICAL


class Scorer(nn.Module):
    """logit = shared(z) + delta_u(z) with z = [encoder(texts), numbers beside the texts].

    Args:
        encoder: Encoder that reads texts.
        trained_in: Arithmetic of training, float32 or bfloat16; None is the one that the encoder runs in.
        beside: Names of the numbers beside texts that are read (`models.beside`), in their order in z.
    """

    def __init__(self, encoder: TextsEncoder, trained_in: str | None = None, beside: Sequence[str] = ()) -> None:
        super().__init__()
        self.encoder = encoder
        self.trained_in = trained_in
        self.beside = tuple(beside)
        self.heads = HeadModel(self.width, LEXICAL + len(self.beside))

    @property
    def width(self) -> int:
        """Width of z."""
        return self.encoder.width + len(self.beside)

    @torch.no_grad()
    def features(
        self,
        decisions: Sequence[Texts],
        beside: Sequence[Beside] = (),
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        """Return features z of any number of decisions, shape (decisions, width), float32, on the CPU.

        Args:
            decisions: Texts to score, each with the texts that it is compared with.
            beside: Numbers beside the texts of each decision; empty where nothing is known of any.
            advance: Called as by `TextsEncoder.features`.
        """
        z = self.encoder.features(decisions, advance=advance)
        if not self.beside:
            return z
        numbers = beside_numbers(beside or ({},) * len(decisions), self.beside)
        return torch.cat([z, torch.tensor(numbers).reshape(len(decisions), len(self.beside))], dim=1)

    @torch.inference_mode()
    def score(self, decisions: Sequence[Texts], heads: Sequence[Head | None], beside: Sequence[Beside] = ()) -> Tensor:
        """Return the logit of each decision under its own user's head.

        Args:
            decisions: Texts to score, each with the texts that it is compared with.
            heads: Head of each decision's user, None for the shared answer; those of one user share one object.
            beside: Numbers beside the texts of each decision, as `features` takes them.

        Returns:
            Logits, shape (decisions,), float32, on the CPU.
        """
        return self.heads.logits(self.features(decisions, beside), heads)

    def save(self, folder: Path) -> None:
        """Write encoder and heads; no pickle, and no user's head."""
        self.encoder.save(folder / "encoder")
        self.heads.save(folder)
        read = self.encoder
        trained_in = self.trained_in or read.arithmetic
        encoder = {"max_tokens": read.max_tokens, "precision": trained_in, "lexical": read.lexical}
        about = {"encoder": encoder, "beside": self.beside}
        (folder / "scorer.json").write_text(json.dumps(about, indent=2))

    @classmethod
    def load(cls, folder: Path, computing: Computing) -> Scorer:
        """Read what `save` wrote, in evaluation mode and the encoder frozen, onto the GPU where there is one.

        Args:
            folder: Folder that holds one role of a base.
            computing: How the encoder computes, whatever it was trained in.
        """
        about = json.loads((folder / "scorer.json").read_text())
        read = about["encoder"]
        encoder = TextsEncoder.load(str(folder / "encoder"), read["max_tokens"], computing, read["lexical"])
        encoder.requires_grad_(False)
        # Files of before numbers stood beside texts have none.
        scorer = cls(encoder, read["precision"], about.get("beside", ()))
        scorer.heads = HeadModel.load(folder)
        return scorer.to(scorer.heads.device).eval()
