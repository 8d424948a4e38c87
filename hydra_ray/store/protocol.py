"""The port of a store of users, whatever keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.rights.protocol import UserRecords
from hydra_ray.store.types import HistoryChange, HistoryVersion, ProfileFingerprint, UserProfile


class Store(Protocol):
    """Histories, heads, observations and profiles of users; every row belongs to one user of one tenant.

    Any thread may use a store, and any number of processes may open the same one. A reader sees each user's write
    whole or not at all, and sees it in the next call after the write has ended.

    Every method raises `StoreError` where the store does not answer.
    """

    # Histories.

    def put_histories(self, histories: Mapping[UserKey, Sequence[HistoryItem]]) -> None:
        """Replace users' histories, each user's as a whole; users who are not named keep theirs.

        A history that only grew keeps the epoch of its version, and an equal one its whole version.

        Args:
            histories: Items by user, oldest first. An empty sequence removes the user's history.

        Raises:
            ValueError: Two items of one user have the same id; nothing is written.
        """

    def append_history(self, key: UserKey, item: HistoryItem) -> None:
        """Add an item at the end of a user's history, whatever its date.

        An item of the same id is removed first. If its texts were others, so are all profiles that may tell of them.
        """

    def delete_item(self, key: UserKey, item_id: str) -> bool:
        """Remove an item of a user's history; return whether there was one.

        All profiles that may tell of it go in any case: they may be of a time when the item was there.
        """

    def history(self, key: UserKey) -> tuple[HistoryItem, ...]:
        """Return a user's history in the order in which it was written; empty for an unknown user."""

    def history_item(self, key: UserKey, item_id: str) -> HistoryItem | None:
        """Return one item of a user's history; None where there is none of that id."""

    def histories(self, tenant: str) -> dict[UserKey, list[HistoryItem]]:
        """Return the histories of all users of a tenant who have one, users in order of their keys."""

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

    def heads(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, tuple[str, Head]]:
        """Return stamp (see `stamps`) and head of each user; users without a head are left out."""

    def stamps(self, keys: Iterable[UserKey], version: str, role: str) -> dict[UserKey, str]:
        """Return the stamp of each user's head; it changes on every write. Users without a head are left out."""

    def head_fingerprints(self, version: str, role: str) -> dict[UserKey, str]:
        """Return the fingerprint of every user with a head, or of whom nothing else is kept, in order of their keys."""

    def users_with_head(self, version: str, role: str) -> list[UserKey]:
        """Return all users with a head, in order of their keys."""

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

    def updating_observations(self, key: UserKey, version: str, role: str) -> AbstractContextManager[ObservationUpdate]:
        """Open a transaction in which a user's observations change, and with it history and head.

        Others see all of it or nothing, once the `with` block ends. An exception inside undoes it. Two updates of one
        user follow each other.
        """

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

        Returns:
            Number of rows removed, by table; `profiles_of_others` are others' that were made with the user's texts. All
            are 0 where there was nobody.
        """

    @property
    def records(self) -> UserRecords:
        """What a user may ask of their own rows, whatever table they are in."""

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

    def append_history(self, item: HistoryItem) -> None:
        """Do what `Store.append_history` does, within the transaction."""

    def delete_item(self, item_id: str) -> bool:
        """Remove an item of the history and, if there was one, all profiles that may tell of it."""

    def head(self) -> Head | None:
        """Return the user's head; None for a user without one."""

    def put_head(self, head: Head | None) -> None:
        """Write the user's head with an empty fingerprint, so that the next fit starts anew; None removes it."""
