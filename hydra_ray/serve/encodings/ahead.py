"""Encodes what is read of new items before a request asks for it, in the pauses between requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Condition, Thread
from typing import TYPE_CHECKING, NamedTuple

from hydra_ray.learn.heads.item_encodings import ReadTexts, encode_texts
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.serve.encodings.items import ItemEncodings
from hydra_ray.serve.encodings.rounds import Look, Rounds

if TYPE_CHECKING:
    from hydra_ray.models.encoder import TextsEncoder

log = logging.getLogger(__name__)

# Letters of items that wait: minutes of work of one core, and a few MB whatever users say. What finds no room is
# encoded by the request that meets it.
_WAITING = 4 << 20
# What an item takes that says next to nothing.
_ITEM = 200
# A request that comes meanwhile shares the cores for as long as so many texts take, 0.1 s in all.
_TEXTS = 2
# A user's items that are written in one transaction.
_ITEMS = 32
# Where nothing waits, users are looked at: of who was imported, or told it to a replica that is gone, something is
# missing.
LOOK_EVERY_S = 60.0
# Users for whom something is encoded at one look: a replica that finds a store of which nothing is takes its time.
_USERS = 4


class Reading(NamedTuple):
    """What a role of the version that is served reads items by."""

    encoder: TextsEncoder
    texts: ReadTexts


class EncodedAhead:
    """A bounded queue of items, and the thread that encodes them while this replica has no request.

    Nobody waits for it, and nothing depends on it: what it does not come to, requests do.

    Args:
        items: Encodings between memory and store.
        reading: Gives encoder and texts of the version that is served.
        look: Finds users of whom something may be missing.
        dropped: Called with the number of items that found no room or failed.
        every_s: Seconds between two looks.
    """

    def __init__(
        self,
        items: ItemEncodings,
        reading: Callable[[], Reading],
        look: Look,
        dropped: Callable[[int], None],
        every_s: float,
    ) -> None:
        self._items, self._reading, self._look, self._dropped = items, reading, look, dropped
        self._rounds = Rounds(every_s)
        # By user and id: an item that is said again meanwhile is encoded once, as it is now.
        self._waiting, self._length = dict[UserKey, dict[str, HistoryItem]](), 0
        self._changed, self._requests, self._closed, self._is_busy = Condition(), 0, False, False
        self._thread = Thread(target=self._run, daemon=True, name="encodes-ahead")
        self._thread.start()

    def note(self, user: UserKey, items: Sequence[HistoryItem]) -> None:
        """Has items of a user encoded soon; returns at once."""
        dropped = 0
        with self._changed:
            waiting = self._waiting.pop(user, {})
            for item in items:
                # As it was it is of no use any more.
                before = waiting.pop(item.id, None)
                self._length -= 0 if before is None else _length(before)
                if self._length + _length(item) > _WAITING:
                    dropped += 1
                    continue
                waiting[item.id] = item
                self._length += _length(item)
            if waiting:
                self._waiting[user] = waiting
            self._rounds.hurry()
            self._changed.notify_all()
        if dropped:
            self._dropped(dropped)

    @contextmanager
    def request(self) -> Iterator[None]:
        """While somebody is here, nothing new is begun."""
        with self._changed:
            self._requests += 1
        try:
            yield
        finally:
            with self._changed:
                self._requests -= 1
                if not self._requests:
                    self._changed.notify_all()

    def settle(self, timeout_s: float) -> bool:
        """Waits until nothing waits any more; returns whether that came about."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_busy, timeout_s)

    def close(self) -> None:
        """Ends the thread after the texts under way; what waits is left to requests."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._length = 0
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closed, self._rounds.left_s())
                user, items = self._next()
                self._is_busy = True
            try:
                if items:
                    self._encode(user, items)
                elif not self._rounds.left_s():
                    self._look_around()
            except Exception as error:
                # Whatever it is: the thread goes on, and requests encode what they miss.
                log.warning("items of a user are not encoded ahead", exc_info=error)
                self._dropped(len(items))

    def _next(self) -> tuple[UserKey, list[HistoryItem]]:
        """Take some items of the user who has waited longest."""
        user = next(iter(self._waiting), UserKey("", ""))
        waiting = list(self._waiting.pop(user, {}).items())
        if waiting[_ITEMS:]:
            # Behind all others: one long history does not keep them waiting.
            self._waiting[user] = dict(waiting[_ITEMS:])
        taken = [item for _, item in waiting[:_ITEMS]]
        self._length -= sum(map(_length, taken))
        return user, taken

    def _pause(self) -> bool:
        """Wait until no request is here; return whether anything is to be done then."""
        with self._changed:
            self._changed.wait_for(lambda: not self._requests or self._closed)
            return not self._closed

    def _encode(self, user: UserKey, items: Sequence[HistoryItem]) -> int:
        """Encode what is missing of some items; return how many texts that were."""
        encoder, read = self._reading()
        missing, encoded = self._items.unwritten(encoder, user, read(items)), []
        for start in range(0, len(missing), _TEXTS):
            if not self._pause():
                return 0
            encoded += encode_texts(encoder, missing[start : start + _TEXTS], ())
        if encoded:
            self._items.put(encoder, user, encoded)
        return len(encoded)

    def _look_around(self) -> None:
        """Encode what is missing of the next users, until somebody told something new."""
        self._rounds.begin()
        reads_own = self._reading().texts.reads_own
        if not self._goes_on():
            return
        users, found = self._look.users(self._rounds.after) if reads_own else (), 0
        for user in users:
            before, self._rounds.after = self._rounds.after, user
            # Whoever's items fail is left behind: the next look goes on after them.
            made = self._encode_newest(user)
            if made is None:
                self._rounds.after = before
                return
            found += made > 0
            if found == _USERS:
                return
        if not users:
            self._rounds.end()

    def _encode_newest(self, user: UserKey) -> int | None:
        """Encode what is missing of a user's newest items; return how many texts, or None where others go first."""
        made, items = 0, self._look.newest(user) if self._goes_on() else ()
        for start in range(0, len(items), _ITEMS):
            if not self._goes_on():
                return None
            made += self._encode(user, items[start : start + _ITEMS])
            self._rounds.has_found |= made > 0
        return made if self._goes_on() else None

    def _goes_on(self) -> bool:
        return self._pause() and not self._waiting


def _length(item: HistoryItem) -> int:
    return _ITEM + len(item.id) + len(item.input) + len(item.output) + len(item.context)
