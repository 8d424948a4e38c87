"""All that comes after the encoder: the shared head, what kinds share, and the users' heads handed in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hydra_ray.models.features import Batch, UserFeatures, pad
from hydra_ray.models.heads.bank import deltas
from hydra_ray.models.heads.head import Head
from hydra_ray.models.heads.kind import FitOptions, HeadKind
from hydra_ray.models.heads.kinds import HEAD_KINDS
from hydra_ray.models.heads.shared import SharedHead
from hydra_ray.models.lexical import LEXICAL
from hydra_ray.records import HydraError

log = logging.getLogger(__name__)

_COMMONS = "commons."


class HeadModel(nn.Module):
    """logit = shared(z) + delta_u(z). It holds no user's head, and users of one batch may have different kinds.

    Args:
        width: Width of z.
        single: Number of z's last entries that the shared head has a weight of its own for: the lexical features, and
            the numbers beside texts.

    Attributes:
        prior: Learnt weight of what is known of a decision before any head scores it (`UserFeatures.priors`), which
            is added to the logit.
    """

    def __init__(self, width: int, single: int = LEXICAL) -> None:
        super().__init__()
        self.width = width
        self.shared = SharedHead(width, max(1, (width - single) // 3), single)
        self.prior = nn.Parameter(torch.ones(()))
        parts = {name: kind.common(width) for name, kind in HEAD_KINDS.items()}
        # Fitted after encoder and shared head.
        self.commons = nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
        # Kinds that came after the base was trained.
        self._lacking: frozenset[str] = frozenset()

    @property
    def device(self) -> torch.device:
        """Device that the heads are computed on."""
        return self.shared.out.weight.device

    def common(self, kind: str) -> nn.Module | None:
        """Return the part that all heads of a kind share; None where there is none.

        Raises:
            HydraError: There is no such kind, or the base was trained before there was.
        """
        if kind in self._lacking:
            raise _lacks(kind)
        _form(kind)
        return dict(self.commons.items()).get(kind)

    def offset(self, batch: Batch, prior_weight: float | None = None) -> Tensor:
        """Return what users' deltas are added to: shared logit plus weighted priors, shape (users, places).

        Args:
            batch: Features of the users.
            prior_weight: Weight of the priors; None takes the weight that the base has learnt.
        """
        return self.shared(batch.z) + (self.prior if prior_weight is None else prior_weight) * batch.known

    @torch.inference_mode()
    def logits(self, z: Tensor, heads: Sequence[Head | None]) -> Tensor:
        """Return the logit of each decision under its own user's head.

        Args:
            z: Features, shape (decisions, width).
            heads: Head of each decision's user, None for the shared answer; those of one user share one object.

        Returns:
            Logits, shape (decisions,), float32, on the CPU.
        """
        z = z.to(self.device)
        logits = self.shared(z)
        distinct = {id(head): head for head in heads if head is not None}
        alike: dict[tuple, list[Head]] = {}
        for head in distinct.values():
            alike.setdefault((head.kind, *(tensor.shape for tensor in head.tensors.values())), []).append(head)
        for (kind, *_), members in alike.items():
            form, rows = _form(kind), {id(head): row for row, head in enumerate(members)}
            mine = [place for place, head in enumerate(heads) if id(head) in rows]
            users = torch.tensor([rows[id(heads[place])] for place in mine], device=self.device)
            stacked = {
                name: torch.stack([head.tensors[name] for head in members]).to(self.device)
                for name in form.scored_by or members[0].tensors
            }
            at = torch.tensor(mine, device=self.device)
            logits = logits.index_add(0, at, deltas(form, stacked, users, z[at], self.common(kind)))
        return logits.float().cpu()

    def fit(
        self, kind: str, users: Sequence[UserFeatures], options: FitOptions, about: Mapping[str, float] | None = None
    ) -> list[Head]:
        """Fit heads of some users together, in the users' order; none depends on another user's data.

        Args:
            kind: Kind of the heads, a key of `HEAD_KINDS`.
            users: Cached features of each user.
            options: How the heads are fitted.
            about: Numbers kept with the heads; a `prior_weight` among them weighs the priors in the fit and in scoring.
        """
        batch = pad(users, self.device)
        self.requires_grad_(False)
        offset = self.offset(batch, (about or {}).get("prior_weight"))
        form = _form(kind)
        return form.apart(form.fit(batch, offset, self.common(kind), options), about)

    def save(self, folder: Path) -> None:
        """Write shared head and common parts to `heads.safetensors`."""
        save_file(self.state_dict(), folder / "heads.safetensors", metadata={"width": str(self.width)})

    @classmethod
    def load(cls, folder: Path) -> HeadModel:
        """Read what `save` wrote, in evaluation mode, onto the GPU where there is one.

        A kind newer than the file has no common part, and asking for that part is an error. Common parts of kinds that
        this version does not know are left out.

        Raises:
            HydraError: The file is damaged.
        """
        path = folder / "heads.safetensors"
        try:
            state = load_file(path)
            model = cls(state["shared.dense.weight"].shape[1], len(state["shared.lexical"]))
            model.load_state_dict(model._fitting(state, path))
        except (SafetensorError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise HydraError(f"{path}: damaged, or not of this version: {reason}; train again") from None
        return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def _fitting(self, state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
        """Drop the common parts that a file does not have, and return the file's tensors for the rest."""
        has = {name.split(".")[1] for name in state if name.startswith(_COMMONS)}
        self._lacking = frozenset(name for name in self.commons if name not in has)
        for name in self._lacking:
            del self.commons[name]
        if unknown := sorted(has - set(self.commons)):
            log.warning("%s: kinds of head that this version does not know are left out: %s", path, ", ".join(unknown))
        left_out = tuple(f"{_COMMONS}{name}." for name in unknown)
        return {name: tensor for name, tensor in state.items() if not name.startswith(left_out)}


def check_kind(folder: Path, kind: str) -> None:
    """Refuse a kind of head for which a saved model has no part; no weights are read.

    Args:
        folder: Folder that `HeadModel.save` wrote to.
        kind: Kind of head, a key of `HEAD_KINDS`.

    Raises:
        HydraError: There is no such kind, the model was trained before there was, or the file is damaged.
    """
    path = folder / "heads.safetensors"
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise HydraError(f"{path}: damaged: {error}; train again") from None
    if _form(kind).common(LEXICAL + 1) is not None and not any(name.startswith(f"{_COMMONS}{kind}.") for name in names):
        raise _lacks(kind)


def _lacks(kind: str) -> HydraError:
    return HydraError(
        f"heads of kind {kind} need a part that this base does not have, for it was trained before there were any: "
        "train again, or fit heads of another kind (fit.head.kind)"
    )


def _form(kind: str) -> HeadKind:
    if kind not in HEAD_KINDS:
        raise HydraError(f"this version knows no heads of kind {kind}: it knows {', '.join(HEAD_KINDS)}")
    return HEAD_KINDS[kind]
