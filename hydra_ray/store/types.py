"""Values that stores of users take and give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from hydra_ray.records import HistoryItem, HydraError, UserKey


class StoreError(HydraError):
    """The store did not answer, or another writer did not end in time; the same call may succeed later."""


class LostError(StoreError):
    """A transaction was cut off, or was in another's way: run again as a whole it is likely to succeed."""


class DeletedMeanwhileError(HydraError):
    """The user was deleted while something about them was under way: it comes too late."""


class HistoryVersion(NamedTuple):
    """Version of a user's history; it changes with every write and tells what is left of what was read before.

    Attributes:
        epoch: Name of the epoch; another one once the history was replaced as a whole.
        next_place: Place above those of all items that the epoch ever had; what is added later has this one or more.
        removed: How many items the epoch lost.
    """

    epoch: str
    next_place: int
    removed: int


@dataclass(frozen=True, slots=True)
class HistoryChange:
    """Difference between a history and an earlier version of it.

    Attributes:
        version: The history's version now; None for a user without a history.
        is_whole: Whether nothing of the former one is left: `added` is the history.
        added: Items that are new, with their places, in order.
        left: Places of the former items that are still there; None is all of them.
    """

    version: HistoryVersion | None
    is_whole: bool
    added: list[tuple[int, HistoryItem]]
    left: frozenset[int] | None = None


class ProfileFingerprint(NamedTuple):
    """Fingerprint of what a profile was made of.

    Attributes:
        how: Digest of kind, prompts and numbers.
        what: Digest of `how`, of the history that was seen (ids and outputs) and of the cut-off for others' texts.
        seen: How many history items were seen.
    """

    how: str
    what: str
    seen: int


@dataclass(frozen=True, slots=True)
class UserProfile:
    """A profile: what an LLM wrote of a user.

    Attributes:
        kind: Kind of the profile, e.g. "dpl".
        text: Text as prompts tell it; empty where there is nothing to tell.
        fingerprint: Fingerprint of what it was made of.
        peers: Users of the same tenant whose texts were read for it, in order.
        degraded: Whether it had to do without what makes its kind.
        dropped: Items that were left out because the LLM's answer about them could not be used.
    """

    kind: str
    text: str
    fingerprint: ProfileFingerprint
    peers: tuple[UserKey, ...] = ()
    degraded: bool = False
    dropped: int = 0
