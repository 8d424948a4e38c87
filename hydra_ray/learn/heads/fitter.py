"""Fits heads from cached features, batch by batch, so that memory does not grow with the number of users."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import torch

from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.models.features import UserFeatures, pad
from hydra_ray.models.heads import HEAD_KINDS, FitOptions, Head, HeadModel
from hydra_ray.models.heads.bases import Bases, BasisHeads, observations
from hydra_ray.models.heads.descent import GradientFitted
from hydra_ray.models.heads.online import pack
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import UserKey
from hydra_ray.settings import FitSettings, Settings

log = logging.getLogger(__name__)

# Users who are sorted by length together: more would waste less padding and hold more in memory.
_USERS_SORTED = 512

User = tuple[UserKey, UserFeatures]


@dataclass(frozen=True, slots=True)
class FitChoice:
    """Settings that one user's head is fitted with.

    Attributes:
        fit: Kind, steps, rate, pull.
        prior_weight: Weight of the LLM's vote or the retriever's rank; None leaves it to the method's settings.
    """

    fit: FitSettings
    prior_weight: float | None = None


@dataclass(frozen=True, slots=True)
class FittedHead:
    """A user's head; of kind `bases` with all that its posterior depends on, by item id."""

    user: UserKey
    head: Head
    observations: dict[str, bytes] = field(default_factory=dict)


class FitUsers(Protocol):
    """Fits heads of users; `HeadFitter` is one."""

    def __call__(self, users: Iterable[User]) -> Iterator[FittedHead]:
        """Each user's head, in any order."""
        ...


class HeadFitter:
    """Fits heads of any number of users on the frozen base, each as if fitted alone.

    Args:
        model: The base of one role, without its encoder.
        choose: Says how each user's head is fitted.
        loss: Name of the loss that the base was trained with.
    """

    def __init__(self, model: HeadModel, choose: Callable[[UserFeatures], FitChoice], loss: str) -> None:
        self._model, self._choose, self._loss = model, choose, loss

    def __call__(self, users: Iterable[User]) -> Iterator[FittedHead]:
        """Heads of users with at least one group each, who are read as they are needed.

        Who teaches too little for a head of the chosen kind gets none.
        """
        users = iter(users)
        chosen = ((self._choose(features), key, features) for key, features in users)
        while True:
            window = list(islice(chosen, _USERS_SORTED))
            if not window:
                return
            alike: dict[FitChoice, list[User]] = {}
            for choice, key, features in window:
                if len(features.sizes) >= _least_groups(choice.fit):
                    alike.setdefault(choice, []).append((key, features))
            if few := len(window) - sum(map(len, alike.values())):
                log.info("%d of %d users teach too little for a head and get the shared answer", few, len(window))
            for choice, members in alike.items():
                yield from self._fit_alike(choice, members)

    def _fit_alike(self, choice: FitChoice, members: list[User]) -> Iterator[FittedHead]:
        # Users of like length share a batch, which saves padding.
        members.sort(key=lambda one: len(one[1].z))
        size = choice.fit.users_per_batch
        for start in range(0, len(members), size):
            batch = members[start : start + size]
            features = [one for _, one in batch]
            heads = self._model.fit(
                choice.fit.head.kind, features, fit_options(choice.fit, self._loss), head_numbers(choice)
            )
            observed = [dict[str, bytes]()] * len(batch)
            if choice.fit.head.kind == Bases.name:
                observed = observations_by_item(self._model, features, choice.prior_weight)
            for (key, _), head, own in zip(batch, heads, observed, strict=True):
                yield FittedHead(key, head, own)


@torch.no_grad()
def observations_by_item(
    model: HeadModel, users: Sequence[UserFeatures], prior_weight: float | None = None
) -> list[dict[str, bytes]]:
    """Return each user's observations, which the posterior depends on, by the id that each group's are kept under.

    For the same users they are to the bit what `HeadModel.fit` fits on: the same batch goes through the same products.

    Args:
        model: The base of one role.
        users: Features of the users whose heads are fitted together.
        prior_weight: Prior weight that the heads score with; None takes the one that the base has learnt.
    """
    common, batch = model.common(Bases.name), pad(users, model.device)
    assert isinstance(common, BasisHeads)
    observed = observations(
        common, batch.pick(batch.z), batch.pick(model.offset(batch, prior_weight)), batch.scores
    ).cpu()
    parts = iter(observed.split([size for one in users for size in one.sizes.tolist()]))
    return [{name: pack(next(parts)) for name in one.observation_ids} for one in users]


def _least_groups(fit: FitSettings) -> int:
    # A posterior knows by itself how little it knows, and a mixture is not fitted at all.
    return fit.min_groups if isinstance(HEAD_KINDS[fit.head.kind], GradientFitted) else 1


def fit_options(settings: FitSettings, loss: str) -> FitOptions:
    """Settings as the models take them."""
    return FitOptions(
        loss=loss,
        rank=settings.head.rank,
        steps=settings.steps,
        lr=settings.lr,
        pull=settings.pull,
        dropout=settings.dropout,
        temperature=settings.temperature,
        held_back=settings.held_back,
    )


def head_numbers(choice: FitChoice) -> dict[str, float]:
    """Return the numbers of a fit that are kept with its head."""
    numbers = {} if choice.prior_weight is None else {"prior_weight": choice.prior_weight}
    if choice.fit.head.kind == Bases.name:
        # An update from feedback fits with the same.
        numbers |= {"pull": choice.fit.pull, "temperature": choice.fit.temperature}
    return numbers


def fit_heads_here(
    groups: Mapping[UserKey, Sequence[RankingGroup]], scorer: Scorer, settings: Settings
) -> dict[UserKey, Head]:
    """Return heads of users, fitted in this process as the settings say, the same for all.

    Args:
        groups: Groups by user, oldest first; who has none gets no head.
        scorer: Scorer of the groups' role.
        settings: Settings of base and fit.
    """
    having = {user: own for user, own in groups.items() if own}
    if not having:
        return {}
    features = zip(having, encode_all(scorer, list(having.values())), strict=True)
    fitter = HeadFitter(scorer.heads, lambda _: FitChoice(settings.fit), settings.base.loss)
    return {fitted.user: fitted.head for fitted in fitter(features)}
