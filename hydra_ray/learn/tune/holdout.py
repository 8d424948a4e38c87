"""Measures how well heads would have served users: fitted on their earlier groups, scored on the later ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hydra_ray.models.features import Batch, UserFeatures, pad
from hydra_ray.models.heads import HEAD_KINDS, FitOptions, HeadModel

_USERS_PER_BATCH = 128


@dataclass(frozen=True, slots=True)
class Holdout:
    """Users whose latest groups are held back.

    Attributes:
        known: Groups that heads are fitted on.
        held: Groups that heads are scored on; the same users, in the same order.
    """

    known: tuple[Batch, ...]
    held: tuple[Batch, ...]

    @classmethod
    def of(cls, users: Sequence[UserFeatures], share: float) -> Holdout:
        """Holds back the latest share of each user's groups; users with too few to hold one back are left out.

        Where any user has held-back groups of which the LLM gave candidates, only such groups count: heads will
        choose among candidates.
        """
        split = [(one, max(1, len(one.sizes) - max(1, round(share * len(one.sizes))))) for one in users]
        pairs = [(one.groups(0, at), one.groups(at, len(one.sizes))) for one, at in split if len(one.sizes) > 1]
        judged = [(known, asked) for known, held in pairs if len((asked := _asked(held)).sizes)]
        pairs = judged or pairs
        batches = [pairs[at : at + _USERS_PER_BATCH] for at in range(0, len(pairs), _USERS_PER_BATCH)]
        known, held = (tuple(pad([pair[side] for pair in batch]) for batch in batches) for side in (0, 1))
        return cls(known, held)

    def __len__(self) -> int:
        return sum(len(batch.counts) for batch in self.held)

    def course(
        self, model: HeadModel, kind: str, options: FitOptions, prior_weight: float, every: int
    ) -> Iterator[Tensor]:
        """Each user's score after every so many steps of the fit, shape (users,).

        A user's score is the mean score of what would be chosen for the held-back groups.
        """
        form, common = HEAD_KINDS[kind], model.common(kind)
        model.requires_grad_(False)
        courses = [
            form.course(batch, model.offset(batch, prior_weight), common, options, every) for batch in self.known
        ]
        for heads in zip(*courses, strict=True):
            scores = [
                chosen_scores(model, kind, own, batch, prior_weight)
                for own, batch in zip(heads, self.held, strict=True)
            ]
            yield torch.cat(scores)


@torch.no_grad()
def chosen_scores(
    model: HeadModel, kind: str, heads: Mapping[str, Tensor], batch: Batch, prior_weight: float
) -> Tensor:
    """Mean score of what users' heads choose in each group, shape (users,)."""
    rows = torch.arange(len(batch.counts))
    logits = model.shared(batch.z) + HEAD_KINDS[kind].delta(heads, rows, batch.z, model.common(kind))
    total = batch.pick(logits) + prior_weight * batch.priors
    groups = len(batch.owner)
    best = total.new_full((groups,), -torch.inf).scatter_reduce(0, batch.group, total, "amax")
    # The first of several equals, as the steps do it.
    place = torch.arange(len(total))
    first = torch.full((groups,), len(total)).scatter_reduce(
        0, batch.group[total == best[batch.group]], place[total == best[batch.group]], "amin"
    )
    return batch.by_user(batch.scores[first]) / batch.counts


def _asked(features: UserFeatures) -> UserFeatures:
    """Return the groups of which the LLM, or the retriever, gave the candidates: they have priors."""
    group = torch.arange(len(features.sizes)).repeat_interleave(features.sizes)
    has = torch.zeros(len(features.sizes)).index_add(0, group, (features.priors != 0).float()) > 0
    kept = has[group]
    return UserFeatures(
        features.z[kept],
        features.sizes[has],
        features.scores[kept],
        features.priors[kept],
        tuple(one for one, keep in zip(features.observation_ids, has.tolist(), strict=True) if keep),
    )
