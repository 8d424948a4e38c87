"""What the store knows of users whose heads are computed: one state of each, by which it is told what came later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hydra_ray.data.dataset import User
from hydra_ray.dates import in_order
from hydra_ray.records import UserKey
from hydra_ray.store.protocol import Store
from hydra_ray.store.types import FeedbackEvent, FittedUser, Seen

if TYPE_CHECKING:
    # It takes torch, which who reads users may not need.
    from hydra_ray.learn.heads.fitter import FittedHead


@dataclass(frozen=True, slots=True)
class StoredUsers:
    """Users as the store had them.

    Attributes:
        users: Users with history, in the order of their dates, and without queries.
        events: What they said of answers, by user; who said nothing is left out.
        seen: What was there of each.
    """

    users: Mapping[UserKey, User]
    events: Mapping[UserKey, Sequence[FeedbackEvent]]
    seen: Mapping[UserKey, Seen]

    def whole(self, user: User) -> User:
        """Return a user of the records with all of the history; the records' order stays where they have all of it."""
        known = self.users[user.key].history
        return user if set(known) == set(user.history) else replace(user, history=known)

    def fitted(self, fingerprints: Mapping[UserKey, str], heads: Iterable[FittedHead]) -> dict[UserKey, FittedUser]:
        """Return what was fitted in the form that the store keeps; who got no head teaches too little for one.

        Args:
            fingerprints: Fingerprint by user of what the users teach, of all whose heads were to be fitted.
            heads: The heads.
        """
        return fitted_users(fingerprints, heads, self.seen)


def fitted_users(
    fingerprints: Mapping[UserKey, str], heads: Iterable[FittedHead], seen: Mapping[UserKey, Seen]
) -> dict[UserKey, FittedUser]:
    """Return what was fitted in the form that the store keeps; who got no head teaches too little for one.

    Args:
        fingerprints: Fingerprint by user of what the users teach, of all whose heads were to be fitted.
        heads: The heads.
        seen: What was there of each of these users when their heads were fitted; who is not in it is left out.
    """
    found = {one.user: one for one in heads}
    return {
        key: FittedUser(
            found[key].head if key in found else None,
            now,
            seen[key],
            found[key].observations if key in found else {},
        )
        for key, now in fingerprints.items()
        if key in seen
    }


def read_users(store: Store, keys: Iterable[UserKey]) -> StoredUsers:
    """Read users' histories and feedback events; of who is unknown both are empty."""
    keys = list(keys)
    # Events first: an item of one that comes in between is there, and what is written sees the newer event.
    events, users, seen = store.feedback_events(keys), dict[UserKey, User](), dict[UserKey, Seen]()
    for key, change in store.histories_of(keys).items():
        items = in_order((item for _, item in change.added), lambda item: item.ts)
        users[key] = User(key, tuple(items))
        said = sorted((event.item_id, event.said_at) for event in events.get(key, ()))
        seen[key] = Seen(change.version, tuple(said))
    return StoredUsers(users, events, seen)
