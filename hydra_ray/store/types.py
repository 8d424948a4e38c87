"""Values that stores of users take and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from hydra_ray.records import HistoryItem, HydraError, UserKey

if TYPE_CHECKING:
    # It takes torch, which who opens a store may not need.
    from hydra_ray.models.heads import Head


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


class StoredHead(NamedTuple):
    """A head as it is stored.

    Attributes:
        stamp: Text that changes with every write of it.
        head: The head.
        written_at: Seconds since 1970 of the last write; None where nobody knows.
    """

    stamp: str
    head: Head
    written_at: float | None


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


# Of what is neutral nothing is learnt, and nothing is left of what was said before under the same id.
Said = Literal["accepted", "edited", "rejected", "neutral"]


@dataclass(frozen=True, slots=True)
class FeedbackEvent:
    """One thing that a user said of one answer that was served, kept so that every version's heads can learn from it.

    Attributes:
        item_id: Id of the event, and of the history item that it makes; a later event of the same id takes its place.
        input: What was asked.
        said: What became of `text`.
        text: The answer that was accepted or rejected, or what the user made of one.
        candidates: Texts on offer, `text` among them or not; empty when they are not known.
        ts: Date of the event as the user gave it, in the form of `HistoryItem.ts`; None where there is none.
        votes: Samples of the LLM that gave each candidate; empty when they are not known.
        completion_id: Id of the answer that was served; None when unknown.
        method: Method that answered; None when unknown.
        propensity: Probability with which the answer was chosen, 0 to 1; None when unknown.
        history: Ids of the user's items whose answers the adapter read beside the query, most relevant first. Ids, so
            that the text of an item that is deleted is nowhere.
        version: Version of the base that served when it was said.
        said_at: The server's time of it, ISO 8601 in UTC; the store sets it.
    """

    item_id: str
    input: str
    said: Said
    text: str
    candidates: tuple[str, ...] = ()
    ts: str | None = None
    votes: tuple[int, ...] = ()
    completion_id: str | None = None
    method: str | None = None
    propensity: float | None = None
    history: tuple[str, ...] = ()
    version: str = ""
    said_at: str = ""

    @property
    def item(self) -> HistoryItem | None:
        """History item of what the user preferred; None where that was not said."""
        return (
            None if self.said in ("rejected", "neutral") else HistoryItem(self.item_id, self.input, self.text, self.ts)
        )


class Seen(NamedTuple):
    """What was there of a user when something was computed from it: whether it is still true is told by this.

    Attributes:
        history: Version of the history; None where none was kept.
        events: Ids of the feedback events with the server's time of each, in order of ids.
    """

    history: HistoryVersion | None
    events: tuple[tuple[str, str], ...]


# Who is not in the store, or is no longer.
NOTHING_SEEN = Seen(None, ())


def is_as_seen(seen: Seen, now: Seen) -> bool:
    """Return whether what was computed of a user still holds: nothing was taken away, and nothing was said, since.

    Items that were added without a word of the user may have come from records; the next fit takes them up.
    """
    if (seen.history is None) != (now.history is None) or seen.events != now.events:
        return False
    if seen.history is None or now.history is None:
        return True
    return (seen.history.epoch, seen.history.removed) == (now.history.epoch, now.history.removed)


@dataclass(frozen=True, slots=True)
class FittedUser:
    """What a fit gives of one user, for one version of the base and one role.

    Attributes:
        head: The head; None where the user teaches too little for one.
        fingerprint: Fingerprint of what it was fitted from.
        seen: What was there of the user when the fit began.
        observations: What the head depends on by item, where it is of kind `bases`.
    """

    head: Head | None
    fingerprint: str
    seen: Seen
    observations: Mapping[str, bytes] = field(default_factory=dict)


class Tombstone(NamedTuple):
    """Mark of what was deleted, so that records which still hold it do not bring it back.

    Attributes:
        key: The user.
        item: Id of the history item that was deleted; empty text for the whole user.
        at: When, ISO 8601 in UTC.
        digest: Digest of what the item said, by which it is known under another id; empty where nothing is known.
    """

    key: UserKey
    item: str
    at: str
    digest: str


WHOLE_USER = ""


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What became of histories that were brought together with those in the store.

    Attributes:
        users: Users whose history changed.
        added: Items that are new in the store.
        updated: Items that had another text or date, and have that of the records now.
        kept: Items of these users that stay though the records do not have them, or have them otherwise: what came
            online, and what a feedback event says of an item.
        removed: Items that went, since they were replaced as a whole.
        events: Feedback events that went with them.
        deleted_users: Users of the records who were left out, since they were deleted.
        deleted_items: Items of the records that were left out, since they were deleted.
        losers: Number of removed items and events by user, of those who lost any.
    """

    users: int = 0
    added: int = 0
    updated: int = 0
    kept: int = 0
    removed: int = 0
    events: int = 0
    deleted_users: int = 0
    deleted_items: int = 0
    losers: Mapping[UserKey, int] = field(default_factory=dict)

    def __add__(self, other: MergeReport) -> MergeReport:
        return MergeReport(
            self.users + other.users,
            self.added + other.added,
            self.updated + other.updated,
            self.kept + other.kept,
            self.removed + other.removed,
            self.events + other.events,
            self.deleted_users + other.deleted_users,
            self.deleted_items + other.deleted_items,
            {**self.losers, **other.losers},
        )
