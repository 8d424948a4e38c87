"""The Hugging Face Trainer over what we train: the same trainee, groups, loss and tokens, in its own loop."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from measuring import clock_of
from torch import Tensor, nn

from hydra_ray.learn.base.step import collate
from hydra_ray.learn.base.trainee import Trainee
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.losses import LOSSES, TEMPERATURE
from hydra_ray.settings import BaseSettings

Row = dict[str, Any]
CPU = torch.device("cpu")


def check_installed() -> None:
    """Ends the benchmark where the Trainer cannot run."""
    if find_spec("accelerate") is None:
        raise SystemExit(
            "the Hugging Face Trainer needs accelerate, which hydra-ray does not: `pip install --no-deps accelerate`, "
            "or measure without it: --sides ours"
        )


class PaddedEncoder(TextsEncoder):
    """Encodes all texts of a batch in one pass, padded to the longest, as collators of transformers have it."""

    def _encode_in_training(self, tokens: dict[str, Tensor]) -> Tensor:
        return self._encode(tokens)


class WithLoss(nn.Module):
    """The trainee with its loss, as the Trainer wants a model: what it returns has a loss."""

    def __init__(self, trainee: Trainee, base: BaseSettings) -> None:
        super().__init__()
        # Less padding is ours; all else is the same.
        trainee.scorer.encoder.__class__ = PaddedEncoder
        self.trainee, self._loss, self.losses = trainee, base.loss, list[float]()

    def forward(self, texts: dict[str, Tensor], users: Tensor, scores: Tensor, group: Tensor) -> dict[str, Tensor]:
        """Return the mean loss of a batch's groups."""
        loss = LOSSES[self._loss](self.trainee(texts, users), scores, group, TEMPERATURE).mean()
        self.losses.append(float(loss.detach()))
        return {"loss": loss}


class Peer:
    """A trainee under the Trainer, batch by batch in the order that is given, or in groups of like length.

    Args:
        trainee: What is trained.
        base: Settings of the base: rates, decay and loss are taken over.
        device: Where.
        by_length: Whether the Trainer draws batches of like length, which it can do by itself.
    """

    def __init__(self, trainee: Trainee, base: BaseSettings, device: torch.device, by_length: bool) -> None:
        self.model = WithLoss(trainee, base).to(device)
        self._base, self._device, self._by_length = base, device, by_length

    def train(self, rows: Sequence[Row], lengths: Sequence[int]) -> float:
        """Return the seconds from the first step's beginning to the last one's end; starting and ending are left out.

        Args:
            rows: Groups, as many as make whole batches.
            lengths: Tokens of each group, for batches of like length.
        """
        from transformers import Trainer, TrainerCallback, TrainingArguments
        from transformers.trainer_pt_utils import LengthGroupedSampler

        encoder, base, seconds = self.model.trainee.scorer.encoder, self._base, list[float]()
        clock = clock_of(self._device)

        def batch(some: Sequence[Row]) -> dict[str, Any]:
            texts, users, scores, group = collate(encoder, some, CPU)
            return {"texts": texts, "users": users, "scores": scores, "group": group}

        class Timed(TrainerCallback):
            def on_epoch_begin(self, *_: Any, **__: Any) -> None:
                seconds.append(clock())

            def on_epoch_end(self, *_: Any, **__: Any) -> None:
                seconds.append(clock())

        class InOrder(Trainer):
            def _get_train_sampler(inner, train_dataset: Any = None) -> Any:  # noqa: N805
                if self._by_length:
                    return LengthGroupedSampler(base.batch_groups, lengths=list(lengths))
                return torch.utils.data.SequentialSampler(rows)

        with tempfile.TemporaryDirectory() as folder:
            told = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=base.batch_groups,
                num_train_epochs=1,
                learning_rate=base.lr,
                weight_decay=base.weight_decay,
                max_grad_norm=1.0,
                bf16=base.encoder.precision == "bfloat16",
                use_cpu=self._device.type == "cpu",
                dataloader_pin_memory=self._device.type == "cuda",
                remove_unused_columns=False,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            )
            InOrder(self.model, told, batch, rows, callbacks=[Timed()]).train()
        begin, end = seconds
        return end - begin
