"""What is trained: a scorer with the heads of the training users, and the optimiser of both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.encodings import KeptEncodings
from hydra_ray.models.heads import HEAD_KINDS
from hydra_ray.models.heads.bank import HeadBank
from hydra_ray.models.heads.descent import GradientFitted
from hydra_ray.models.scorer import Scorer
from hydra_ray.settings import BaseSettings

# A million encodings of width 384.
_ENCODING_BYTES = 2_000_000_000
# A handful of weights that each decision tells of, and that start at a guess, may move faster than matrices.
_FEW_FASTER = 10


class Trainee(nn.Module):
    """A scorer with the heads of the training users.

    Args:
        base: Settings of the base.
        users: Number of training users.
        prior_weight: Weight of what is known before a head scores; None has it learnt.
        encoder: Frozen encoder that others use as well; None loads the one that settings name.
        beside: Names of the numbers beside texts that are read.
        starts_at: Weights that single numbers and the prior start at, in that order; empty is as the models have them.
    """

    def __init__(
        self,
        base: BaseSettings,
        users: int,
        prior_weight: float | None = None,
        encoder: TextsEncoder | None = None,
        beside: Sequence[str] = (),
        starts_at: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if encoder is None:
            read = base.encoder
            encoder = TextsEncoder.load(read.name, read.max_tokens, read.computing, base.lexical)
            encoder.train_top_layers(base.encoder.trained_layers)
            if encoder.frozen:
                encoder.remember(KeptEncodings(_ENCODING_BYTES))
        self.scorer = Scorer(encoder, beside=beside)
        # Fitted afterwards, on features that no longer change.
        self.scorer.heads.commons.requires_grad_(False)
        if starts_at:
            self.scorer.heads.shared.lexical.data.copy_(torch.tensor(starts_at[:-1]))
            self.scorer.heads.prior.data.fill_(starts_at[-1])
        if prior_weight is not None:
            self.scorer.heads.prior.data.fill_(prior_weight)
            self.scorer.heads.prior.requires_grad_(False)
        self.scorer.heads.shared.lexical.requires_grad_(base.lexical or bool(self.scorer.beside))
        kind = HEAD_KINDS[base.head.kind]
        assert isinstance(kind, GradientFitted), "settings allow no other"
        self.bank = HeadBank(kind, users, self.scorer.width, base.head.rank)

    def forward(self, texts: dict[str, Tensor], users: Tensor) -> Tensor:
        """Scores, shape (decisions,); `users` holds rows of the bank, -1 for the shared head alone.

        `texts` are tokens, or the features that a frozen encoder has made of them, and the priors and the numbers
        beside texts.
        """
        texts, heads = dict(texts), self.scorer.heads
        known, beside = heads.prior * texts.pop("priors"), texts.pop("beside")
        read = texts["features"] if "features" in texts else self.scorer.encoder(texts)
        z = torch.cat([read, beside], dim=1)
        return heads.shared(z) + self.bank(z, users) + known


def optimizer_of(trainee: Trainee, base: BaseSettings) -> torch.optim.AdamW:
    """Return AdamW over all that is trained: the encoder, the heads, and the few weights that move faster."""
    encoder = [p for p in trainee.scorer.encoder.parameters() if p.requires_grad]
    heads = trainee.scorer.heads
    few = [p for p in (heads.shared.lexical, heads.prior) if p.requires_grad]
    # By identity: tensors compare entry by entry.
    many = [p for p in (*heads.shared.parameters(), *trainee.bank.parameters()) if p is not heads.shared.lexical]
    return torch.optim.AdamW(
        [
            {"params": encoder, "lr": base.lr},
            {"params": many, "lr": base.head_lr},
            {"params": few, "lr": _FEW_FASTER * base.head_lr, "weight_decay": 0.0},
        ],
        weight_decay=base.weight_decay,
        # One kernel for a weight instead of some: on CPUs a step of 22 million weights took 16 ms instead of 115.
        fused=True,
    )
