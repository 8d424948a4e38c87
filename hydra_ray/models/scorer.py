"""Encoder and heads together: how useful or preferred something is for a user."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hydra_ray.models.encoder import Texts, TextsEncoder
from hydra_ray.models.heads import HeadBank, SharedHead, make_bank

Head = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class HeadShape:
    """What a user's head looks like."""

    kind: str
    rank: int


class Scorer(nn.Module):
    """logit = shared(z) + delta_u(z) with z = encoder(texts).

    Args:
        encoder: Makes z.
        shape: Of the users' heads. The heads themselves are handed in with what is to be scored:
            a published scorer holds no user's head.
    """

    def __init__(self, encoder: TextsEncoder, shape: HeadShape) -> None:
        super().__init__()
        self.encoder = encoder
        self.shared = SharedHead(encoder.width, encoder.width // 3)
        self.shape = shape

    def bank(self, users: int) -> HeadBank:
        """Fresh heads for this many users."""
        return make_bank(self.shape.kind, users, self.encoder.width, self.shape.rank)

    @torch.inference_mode()
    def score(self, decisions: Sequence[Texts], heads: Sequence[Head | None]) -> Tensor:
        """Logits of each decision under its own user's head; None gives the shared answer.

        Args:
            decisions: What is judged, and what it is judged by.
            heads: One a decision; those of one user share one object.

        Returns:
            Logits, shape (decisions,), float32, on the CPU.
        """
        return self.logits(self.encoder.features(decisions), heads)

    @torch.inference_mode()
    def logits(self, z: Tensor, heads: Sequence[Head | None]) -> Tensor:
        """As `score`, from features that were encoded before, shape (decisions, width)."""
        z = z.to(next(self.shared.parameters()).device)
        distinct = {id(head): head for head in heads if head is not None}
        rows = {key: row for row, key in enumerate(distinct)}
        logits = self.shared(z)
        if distinct:
            bank = self.bank(len(distinct)).to(z.device)
            for row, head in enumerate(distinct.values()):
                bank.put(row, head)
            users = [-1 if head is None else rows[id(head)] for head in heads]
            logits = logits + bank(z, torch.tensor(users, device=z.device))
        return logits.float().cpu()

    def save(self, folder: Path) -> None:
        """Writes encoder, shared head and head shape; no pickle."""
        self.encoder.save(folder / "encoder")
        save_file(self.shared.state_dict(), folder / "shared.safetensors")
        encoder = {"max_tokens": self.encoder.max_tokens, "precision": self.encoder.precision}
        about = {"encoder": encoder, "head": asdict(self.shape)}
        (folder / "scorer.json").write_text(json.dumps(about, indent=2))

    @classmethod
    def load(cls, folder: Path) -> Scorer:
        """Reads what `save` wrote, in evaluation mode, onto the GPU where there is one."""
        about = json.loads((folder / "scorer.json").read_text())
        encoder = TextsEncoder.load(str(folder / "encoder"), **about["encoder"])
        scorer = cls(encoder, HeadShape(**about["head"]))
        scorer.shared.load_state_dict(load_file(folder / "shared.safetensors"))
        return scorer.to("cuda" if torch.cuda.is_available() else "cpu").eval()
