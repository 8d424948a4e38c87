"""What of a user others may be shown."""

from __future__ import annotations

from hydra_ray.records import PeerItem
from hydra_ray.store.protocol import Store


def is_open_to_peers(store: Store, peer: PeerItem) -> bool:
    """Return whether an item still stands in the store as it was read, and its user did not switch personalisation off.

    Args:
        store: Store of users.
        peer: Item of somebody whose tenant opted in.
    """
    return store.history_item(peer.user, peer.item.id) == peer.item and store.records.is_personalised(peer.user)
