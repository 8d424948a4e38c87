"""The port of a store of users, whatever keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.rights.protocol import UserRecords
from hydra_ray.store.types import (
    WHOLE_USER,
    FeedbackEvent,
    FittedUser,
    HistoryChange,
    HistoryVersion,
    MergeReport,
    ProfileFingerprint,
    StoredHead,
    Tombstone,
    UserProfile,
)

if TYPE_CHECKING:
    # It takes torch, which who opens a store may not need.
    from hydra_ray.models.heads import Head


class Store(Protocol):
    """Histories, heads, observations and profiles of users; every row belongs to one user of one tenant.

    Any thread may use a store, and any number of processes may open the same one. A reader sees each user's write
    whole or not at all, and sees it in the next call after the write has ended.

    Every method raises `StoreError` where the store does not answer.
    """

    # Histories.

    def put_histories(self, histories: Mapping[UserKey, Sequence[HistoryItem]]) -> None:
        """Replace users' histories, each user's as a whole; users who are not named keep theirs.

        A history that only grew keeps the epoch of its version, and an equal one its whole version. Whether somebody
        was deleted is not looked at: records come in by `merge_histories`.

        Args:
            histories: Items by user, oldest first. An empty sequence removes the user's history.

        Raises:
            ValueError: Two items of one user have the same id; nothing is written.
        """

    def merge_histories(self, histories: Mapping[UserKey, Sequence[HistoryItem]], replace: bool = False) -> MergeReport:
        """Bring histories of records together with those that are there, by the ids of items.

        Items are added or updated, and nothing is there twice. What the records do not have stays, and what a feedback
        event says of an item counts more than the records. New items stand where their dates say. A history that only
        grew keeps the epoch of its version, and one that did not change its whole version. Users and items with a
        tombstone are left out.

        Args:
            histories: Items of the records by user, oldest first.
            replace: Whether the records take the place of the histories that are there; feedback events of these users
                go, too. What has a tombstone is left out all the same.

        Raises:
            ValueError: Two items of one user have the same id; nothing is written.
        """

    def append_history(self, key: UserKey, item: HistoryItem) -> None:
        """Add an item at the end of a user's history, whatever its date; a tombstone of the item goes.

        An item of the same id is removed first. If its texts were others, so are all profiles that may tell of them.
        """

    def delete_item(self, key: UserKey, item_id: str) -> bool:
        """Remove an item of a user's history and the feedback event of its id; return whether there was any.

        If there was, a tombstone stays. All profiles that may tell of it go in any case: they may be of a time when the
        item was there.
        """

    def history(self, key: UserKey) -> tuple[HistoryItem, ...]:
        """Return a user's history in the order in which it was written; empty for an unknown user."""

    def history_item(self, key: UserKey, item_id: str) -> HistoryItem | None:
        """Return one item of a user's history; None where there is none of that id."""

    def histories(self, tenant: str) -> dict[UserKey, list[HistoryItem]]:
        """Return the histories of all users of a tenant who have one, users in order of their keys."""

    def users_with_history(self, tenant: str, after: str | None, most: int) -> list[str]:
        """Return ids of a tenant's users who have a history, in the database's order, from the one after `after` on."""

    def histories_of(self, keys: Iterable[UserKey]) -> dict[UserKey, HistoryChange]:
        """Return the whole histories of some users with their versions, all of one state; nobody is left out."""

    def history_version(self, key: UserKey) -> HistoryVersion | None:
        """Return the version of a user's history; None for a user of whom no history was ever written, or is deleted.

        It changes with every write that changes the history, and is never the same again, even after `delete`.
        """

    def history_change(self, key: UserKey, since: HistoryVersion | None) -> HistoryChange:
        """Return the difference between a user's history and an earlier version; None stands for an empty one.

        Places order the items of a history. The place of an item that was removed is not given again in its epoch.
        """

    # Heads, by version of the base and role (reranker or adapter).

    def put_heads(
        self,
        version: str,
        role: str,
        heads: Mapping[UserKey, Head | None],
        fingerprints: Mapping[UserKey, str] | None = None,
    ) -> None:
        """Write users' heads, replacing those of the same version and role.

        Args:
            version: Version of the base.
            role: Reranker or adapter.
            heads: Heads by user. None removes the user's head and keeps the fingerprint, so that nobody fits it again
                before the user has more history.
            fingerprints: Fingerprint by user of what the head was fitted from; empty text for users who are not named.
        """

    def head(self, key: UserKey, version: str, role: str) -> Head | None:
        """Return a user's head; None for a user without one."""

    def heads(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, StoredHead]:
        """Return each user's head with its stamp (see `stamps`); users without a head are left out."""

    def stamps(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, str]:
        """Return the stamp of each user's head; it changes on every write. Users without a head are left out."""

    def head_fingerprints(self, version: str, role: str, keys: Iterable[UserKey] | None = None) -> dict[UserKey, str]:
        """Return the fingerprint of every user with a head, or of whom nothing else is kept.

        Args:
            version: Version of the base.
            role: Reranker or adapter.
            keys: Users that are looked at; None is all of them, in order of their keys.
        """

    def users_with_head(self, version: str, role: str) -> list[UserKey]:
        """Return all users with a head, in order of their keys."""

    def put_fitted(self, version: str, role: str, fitted: Mapping[UserKey, FittedUser]) -> set[UserKey]:
        """Write what a fit gave, heads with their observations, of those who are still as the fit saw them.

        A fit takes a while. Who was deleted meanwhile must not come back by it, and what was said or deleted meanwhile
        must not be forgotten: of such users everything stays as it is.

        Args:
            version: Version of the base.
            role: Reranker or adapter.
            fitted: What the fit gave, by user.

        Returns:
            The users of whom nothing was written.
        """

    # Observations: what the posteriors of heads of kind `bases` depend on, as bytes by history item.

    def put_observations(self, version: str, role: str, observed: Mapping[UserKey, Mapping[str, bytes]]) -> None:
        """Replace users' observations.

        Args:
            version: Version of the base.
            role: Reranker or adapter.
            observed: Observations by user and item id. An empty mapping removes the user's observations.
        """

    def observations(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, dict[str, bytes]]:
        """Return users' observations by item id; users without any are left out."""

    def observed_by(self, key: UserKey, item_id: str) -> list[tuple[str, str]]:
        """Return the (version, role) pairs that have observations of an item of a user, in order."""

    def updating_observations(
        self, key: UserKey, version: str, role: str, deletions: int | None = None
    ) -> AbstractContextManager[ObservationUpdate]:
        """Open a transaction in which a user's observations change, and with it history and head.

        Others see all of it or nothing, once the `with` block ends. An exception inside undoes it. Two updates of one
        user follow each other, the very first two as well.

        Args:
            key: User.
            version: Version of the base.
            role: Reranker or adapter.
            deletions: What `deletions` gave when that began which is written now; None writes it in any case.

        Raises:
            DeletedMeanwhileError: The user was deleted since.
            LostError: The transaction was cut off; the block may be run again, with another one.
        """

    # Feedback events: what users said; `ObservationUpdate.put_event` writes them.

    def feedback_events(self, keys: Iterable[UserKey]) -> dict[UserKey, list[FeedbackEvent]]:
        """Return users' feedback events in the order in which they were said; who said nothing is left out."""

    def users_with_events(self, tenant: str, after: str | None, most: int) -> list[str]:
        """Return ids of a tenant's users who said something, as `users_with_history` does."""

    # Profiles, by kind.

    def profile(self, key: UserKey, kind: str) -> UserProfile | None:
        """Return a user's profile of a kind; None for a user without one."""

    def profile_fingerprints(self, kind: str) -> dict[UserKey, ProfileFingerprint]:
        """Return by user the fingerprint of their profile of a kind."""

    def put_profiles(self, profiles: Iterable[tuple[UserKey, UserProfile]]) -> int:
        """Write users' profiles, each replacing the user's own of the same kind.

        Returns:
            How many were kept. One is not where the user, or somebody whose texts were read for it, has no history
            here: they were deleted while it was written. The old one is gone in that case, too.
        """

    # All of it.

    def delete(self, key: UserKey) -> dict[str, int]:
        """Remove all that is known of exactly this user, and everybody's profiles that were made with their texts.

        A tombstone of the user stays, also where nothing was known: their records are left out from then on.

        Returns:
            Number of rows removed, by table; `profiles_of_others` are others' that were made with the user's texts. All
            are 0 where there was nobody.
        """

    @property
    def records(self) -> UserRecords:
        """What a user may ask of their own rows, whatever table they are in."""

    def tombstones(self, tenant: str) -> list[Tombstone]:
        """Return what was deleted of a tenant and stays so, users and items in order."""

    def put_tombstones(self, tombstones: Iterable[Tombstone]) -> None:
        """Write tombstones of another store, replacing those of the same users and items; nothing else is removed."""

    def undelete(self, key: UserKey, item_id: str = WHOLE_USER) -> bool:
        """Remove the tombstone of an item, or of a user; return whether there was one. Nothing comes back by itself."""

    def deletions(self, key: UserKey) -> int:
        """Return how often a user was deleted: more than before means that what was read before is to be dropped."""

    def close(self) -> None:
        """Let connections and files go. Nothing may be asked of the store afterwards."""


class ObservationUpdate(Protocol):
    """Transaction on one user's history, observations and head of one version and role.

    `Store.updating_observations` gives it.
    """

    def put(self, item_id: str, observed: bytes) -> None:
        """Add an item's observations, or replace them."""

    def remove(self, item_id: str) -> bool:
        """Remove an item's observations; return whether there were any."""

    def all(self) -> list[bytes]:
        """Return all of the user's observations, in the order of item ids."""

    def put_event(self, event: FeedbackEvent) -> None:
        """Write a feedback event with the server's time, unless it has one; it replaces the former one of its id."""

    def append_history(self, item: HistoryItem) -> None:
        """Do what `Store.append_history` does, within the transaction."""

    def delete_item(self, item_id: str) -> bool:
        """Remove an item of the history and, if there was one, all profiles that may tell of it; leave no tombstone."""

    def head(self) -> Head | None:
        """Return the user's head; None for a user without one."""

    def put_head(self, head: Head | None) -> None:
        """Write the user's head with an empty fingerprint, so that the next fit starts anew; None removes it."""
