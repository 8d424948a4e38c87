"""Encodings of users' items between a replica's memory and the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore

import numpy as np

from hydra_ray.bounded import not_counted
from hydra_ray.models.encodings import KeptEncodings, text_digest
from hydra_ray.records import UserKey
from hydra_ray.store.types import StoreError
from hydra_ray.store.user_rows.encodings import EncodingStore, ItemEncoding

log = logging.getLogger(__name__)

# Requests whose encodings wait to be written; of others nothing is written, and a later request does.
_WAITING = 32


class ItemEncodings:
    """Reads what this replica lacks of a user's items, and writes what it had to make; requests do not wait for writes.

    Without it a replica that has just started, or whose memory is full, would encode a user's history anew.

    Args:
        store: Encodings beside the histories.
        kept: Memory of this replica.
        noted: Called with the numbers of items whose encodings the store had, and had not.
    """

    def __init__(
        self, store: EncodingStore, kept: KeptEncodings, noted: Callable[[int, int], None] = not_counted
    ) -> None:
        self._store, self._kept, self._noted = store, kept, noted
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="encodings")
        self._room = Semaphore(_WAITING)

    def read(self, encoder: str, user: UserKey, texts: Mapping[str, str]) -> dict[str, str]:
        """Take what the store has of some items into memory; return the items, with their texts, that it lacks.

        Args:
            encoder: Fingerprint of the encoder.
            user: User whose items they are.
            texts: What is encoded of each item, by its id.
        """
        known = self._kept.find(encoder, texts.values())
        missing = {item: text for item, text in texts.items() if text not in known}
        if not missing:
            return {}
        try:
            found = self._store.find(user, encoder, list(missing))
        except StoreError as error:
            log.warning("encodings are made anew, since the store does not give them: %s", error)
            return {}
        good = {item: one for item, one in found.items() if one.text == text_digest(encoder, missing[item])}
        self._noted(len(good), len(missing) - len(good))
        vectors = {missing[item]: np.frombuffer(one.vector, np.float32) for item, one in good.items()}
        self._kept.keep(encoder, vectors)
        return {item: text for item, text in missing.items() if item not in good}

    def write(self, encoder: str, user: UserKey, texts: Mapping[str, str]) -> None:
        """Has the store keep what is in memory of some items by now, in a thread of its own.

        Args:
            encoder: Fingerprint of the encoder.
            user: User whose items they are.
            texts: What was encoded of each item, by its id.
        """
        made = self._kept.find(encoder, texts.values())
        encoded = {
            item: ItemEncoding(text_digest(encoder, text), made[text].tobytes())
            for item, text in texts.items()
            if text in made
        }
        if encoded and self._room.acquire(blocking=False):
            self._writing.submit(self._put, encoder, user, encoded)

    def flush(self) -> None:
        """Waits until all that was to be written is."""
        self._writing.submit(lambda: None).result()

    def _put(self, encoder: str, user: UserKey, encoded: Mapping[str, ItemEncoding]) -> None:
        try:
            self._store.put(user, encoder, encoded)
        except StoreError as error:
            log.warning("encodings were not kept in the store: %s", error)
        except Exception as error:
            # Nobody waits for what this thread returns.
            log.error("encodings were not kept in the store", exc_info=error)
        finally:
            self._room.release()
