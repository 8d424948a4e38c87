"""Encodings of users' items between a replica's memory and the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Semaphore
from typing import TYPE_CHECKING

from hydra_ray.learn.heads.item_encodings import ItemText
from hydra_ray.models.encodings import KeptEncodings, Vector, stored_vector, text_digest
from hydra_ray.records import UserKey
from hydra_ray.store.types import StoreError
from hydra_ray.store.user_rows.encodings import EncodingStore, ItemEncoding

if TYPE_CHECKING:
    from hydra_ray.models.encoder import TextsEncoder

log = logging.getLogger(__name__)

# Requests whose encodings wait to be written; of others nothing is written, and a later request does.
_WAITING = 32


class ItemEncodings:
    """Reads what this replica lacks of a user's items, and writes what it had to make; requests do not wait for writes.

    Without it a replica that has just started, or whose memory is full, would encode a user's history anew.

    Args:
        store: Encodings beside the histories.
        kept: Memory of this replica, which its encoders share.
        noted: Called with the numbers of texts of requests whose encodings the store had, and had not.
    """

    def __init__(self, store: EncodingStore, kept: KeptEncodings, noted: Callable[[int, int], None]) -> None:
        self._store, self._kept, self._noted = store, kept, noted
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="encodings")
        self._room = Semaphore(_WAITING)
        self._told_of_damage = False

    def read(self, encoder: TextsEncoder, user: UserKey, texts: Collection[str]) -> list[str]:
        """Take what the store has of some texts into memory; return the texts that it lacks.

        Args:
            encoder: Encoder that is to know them.
            user: User whose items say them.
            texts: The texts.
        """
        known = self._kept.find(encoder.fingerprint, texts)
        missing = [text for text in texts if text not in known]
        if not missing:
            return []
        try:
            found = self._stored(encoder, user, missing)
        except StoreError as error:
            log.warning("encodings are made anew, since the store does not give them: %s", error)
            return []
        self._noted(len(found), len(missing) - len(found))
        self._kept.keep(encoder.fingerprint, found)
        return [text for text in missing if text not in found]

    def unwritten(self, encoder: TextsEncoder, user: UserKey, texts: Sequence[ItemText]) -> list[ItemText]:
        """Return those texts of a user's items that the store lacks.

        Raises:
            StoreError: It does not answer.
        """
        found = self._stored(encoder, user, [one.text for one in texts])
        return [one for one in texts if one.text not in found]

    def write(self, encoder: TextsEncoder, user: UserKey, texts: Sequence[ItemText]) -> None:
        """Has the store keep what is in memory of some texts by now, in a thread of its own.

        Args:
            encoder: Encoder that made them.
            user: User whose items say them.
            texts: The texts with their items.
        """
        # Taken now: by the time it is written others may have needed the room.
        encoded = self._in_memory(encoder, texts)
        if encoded:
            self._soon(partial(self._store.put, encoder.fingerprint, {user: encoded}))

    def write_answers(self, encoder: TextsEncoder, user: UserKey, answers: Sequence[str]) -> None:
        """Does what `write` does for answers of which nobody here knows the items."""
        self._soon(partial(self._put_answers, encoder, user, answers))

    def put(self, encoder: TextsEncoder, user: UserKey, encoded: Sequence[ItemEncoding]) -> None:
        """Has the store keep encodings, and waits for it.

        Raises:
            StoreError: It does not answer.
        """
        self._store.put(encoder.fingerprint, {user: encoded})

    def flush(self) -> None:
        """Waits until all that was to be written is."""
        self._writing.submit(lambda: None).result()

    def _stored(self, encoder: TextsEncoder, user: UserKey, texts: Sequence[str]) -> dict[str, Vector]:
        """What the store has of some texts and can be read."""
        digests = {text: text_digest(encoder.fingerprint, text) for text in texts}
        found = self._store.find(user, encoder.fingerprint, list(digests.values()))
        vectors = {
            text: stored_vector(found[digest], encoder.encoding_width)
            for text, digest in digests.items()
            if digest in found
        }
        good = {text: vector for text, vector in vectors.items() if vector is not None}
        if len(good) < len(vectors) and not self._told_of_damage:
            # Once: each is made anew, and written in place of what is there.
            self._told_of_damage = True
            log.warning("%d encodings in the store are damaged: they are made anew", len(vectors) - len(good))
        return good

    def _in_memory(self, encoder: TextsEncoder, texts: Sequence[ItemText]) -> list[ItemEncoding]:
        made = self._kept.find(encoder.fingerprint, [one.text for one in texts])
        return [
            ItemEncoding(one.item, text_digest(encoder.fingerprint, one.text), made[one.text].tobytes())
            for one in texts
            if one.text in made
        ]

    def _put_answers(self, encoder: TextsEncoder, user: UserKey, answers: Sequence[str]) -> None:
        said = {item.output: item for item in self._store.saying(user, answers)}
        texts = [ItemText(item, answer) for answer, item in said.items()]
        self.put(encoder, user, self._in_memory(encoder, texts))

    def _soon(self, write: Callable[[], object]) -> None:
        if self._room.acquire(blocking=False):
            self._writing.submit(self._written, write)

    def _written(self, write: Callable[[], object]) -> None:
        try:
            write()
        except StoreError as error:
            log.warning("encodings were not kept in the store: %s", error)
        except Exception as error:
            # Nobody waits for what this thread returns.
            log.error("encodings were not kept in the store", exc_info=error)
        finally:
            self._room.release()
