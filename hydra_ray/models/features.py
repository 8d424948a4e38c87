"""Cached features: the frozen encoder's output for users' groups, so that no text is ever encoded twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class UserFeatures:
    """One user's groups (queries with all that competes for them), oldest first.

    Attributes:
        z: Features of the decisions, group after group, shape (decisions, width).
        sizes: Number of decisions of each group, shape (groups,).
        scores: Score of each decision, 0 to 1, shape (decisions,).
        priors: Number for what is known of each decision before any head scores it, shape (decisions,): the log of a
            candidate's share of the LLM's votes, or minus the log of a history item's rank; zeros where no LLM
            was asked.
        observation_ids: Id that each group's observations are kept under: that of the history item asked again.
    """

    z: Tensor
    sizes: Tensor
    scores: Tensor
    priors: Tensor
    observation_ids: tuple[str, ...]

    def groups(self, first: int, last: int) -> UserFeatures:
        """Return the groups from number `first` up to but not `last`."""
        ends = self.sizes.cumsum(0)
        start = int(ends[first - 1]) if first else 0
        end = int(ends[last - 1]) if last else 0
        return UserFeatures(
            self.z[start:end],
            self.sizes[first:last],
            self.scores[start:end],
            self.priors[start:end],
            self.observation_ids[first:last],
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Several users' features, padded to the one with most decisions.

    Attributes:
        z: Features, shape (users, places, width); zeros where a user has no more decisions.
        at: Flattened (user, place) that each decision stands at, shape (decisions,).
        group: Number of each decision's group, 0 to groups - 1, shape (decisions,).
        owner: Row of each group's user, shape (groups,).
        counts: Number of groups of each user, shape (users,).
        scores: Scores as in `UserFeatures`, shape (decisions,).
        priors: Priors as in `UserFeatures`, shape (decisions,).
    """

    z: Tensor
    at: Tensor
    group: Tensor
    owner: Tensor
    counts: Tensor
    scores: Tensor
    priors: Tensor

    def pick(self, padded: Tensor) -> Tensor:
        """Return the decisions' values out of padded ones: (users, places, ...) becomes (decisions, ...)."""
        return padded.flatten(0, 1)[self.at]

    @property
    def known(self) -> Tensor:
        """The priors, padded with zeros, shape (users, places)."""
        users, places = self.z.shape[:2]
        return self.priors.new_zeros(users * places).index_copy(0, self.at, self.priors).view(users, places)

    @property
    def place(self) -> Tensor:
        """Number of each group among its user's, oldest first, from 0, shape (groups,)."""
        first = self.counts.cumsum(0) - self.counts
        return torch.arange(len(self.owner), device=self.owner.device) - first[self.owner]

    def by_user(self, of_groups: Tensor) -> Tensor:
        """Return sums of the groups' values by user, shape (users,)."""
        return of_groups.new_zeros(len(self.counts)).index_add(0, self.owner, of_groups)


def pad(users: Sequence[UserFeatures], device: torch.device | str = "cpu") -> Batch:
    """Pad users' features to one batch. Users of like length waste least: sort them before cutting batches."""
    decisions = torch.tensor([len(one.z) for one in users])
    places, width = int(decisions.max()), users[0].z.shape[1]
    z = torch.zeros(len(users), places, width)
    for row, one in enumerate(users):
        z[row, : len(one.z)] = one.z
    rows = torch.arange(len(users)).repeat_interleave(decisions)
    at = rows * places + torch.cat([torch.arange(n) for n in decisions.tolist()])
    sizes = torch.cat([one.sizes for one in users])
    counts = torch.tensor([len(one.sizes) for one in users])
    tensors = (
        z,
        at,
        torch.arange(len(sizes)).repeat_interleave(sizes),
        torch.arange(len(users)).repeat_interleave(counts),
        counts,
        torch.cat([one.scores for one in users]).float(),
        torch.cat([one.priors for one in users]).float(),
    )
    return Batch(*(tensor.to(device) for tensor in tensors))
