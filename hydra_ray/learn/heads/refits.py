"""Whose heads are fitted again while the base serves, when, and how many a minute."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Lock

from hydra_ray.models.base import ADAPTER
from hydra_ray.records import UserKey
from hydra_ray.store.user_rows.news import News

log = logging.getLogger(__name__)

_MINUTE_S = 60.0
# The whole store is looked through at the start, and so often: notes that were lost are found again.
_SCAN_S = 600.0
# After a failure a user is tried again after so long, and each time twice as long, up to an hour.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 30.0, 3_600.0

# Fits the heads of some users for a version of the base; gives those who said something meanwhile, whose heads stayed.
Refit = Callable[[str, Sequence[UserKey]], Iterable[UserKey]]


class Refits:
    """Fits heads of users of whom enough is new, one batch at a time.

    What is due is read from the store, so a restart loses nothing.

    Args:
        news: What is new of users.
        wanted: Says whether a user wants to be personalised; heads of others are left as they are.
        refit: Fits heads.
        serving: Gives the version of the base that serves.
        least: New items and events after which a head is fitted again.
        per_minute: Most heads that are fitted in any 60 seconds.
        clock: Gives seconds that never jump.
        failed: Called with the number of users whose heads could not be fitted.
    """

    def __init__(
        self,
        news: News,
        wanted: Callable[[UserKey], bool],
        refit: Refit,
        serving: Callable[[], str],
        least: int,
        per_minute: int,
        clock: Callable[[], float],
        failed: Callable[[int], None],
    ) -> None:
        self._news, self._wanted, self._refit = news, wanted, refit
        self._serving, self._clock, self._failed = serving, clock, failed
        self._least, self._per_minute = least, per_minute
        self._lock, self._noted = Lock(), dict[UserKey, None]()
        self._fitted_at, self._scanned_at = deque[float](), float("-inf")
        # By user: how long is waited the next time, and until when nothing is tried.
        self._waits = dict[UserKey, tuple[float, float]]()

    def note(self, key: UserKey) -> None:
        """Notes that a user said something: the next round looks whether it is enough."""
        with self._lock:
            self._noted[key] = None

    def round(self) -> list[UserKey]:
        """Fits the heads that are due, as many as the minute has room for; returns whose were fitted."""
        now = self._clock()
        looks_through_all = now - self._scanned_at >= _SCAN_S
        if not looks_through_all and not self._noted:
            return []
        version = self._serving()
        if looks_through_all:
            for key in self._news.due(version, ADAPTER, self._least):
                self.note(key)
            self._scanned_at = now
        due = self._due(version, now)
        if not due:
            return []
        self._fitted_at.extend([now] * len(due))
        with self._lock:
            # What is said from here on is noted anew.
            for key in due:
                self._noted.pop(key, None)
        try:
            left = set(self._refit(version, due))
        except Exception as error:
            # Whatever it is: the others' turn must come, and these are tried again.
            self._wait(due, now)
            for key in due:
                self.note(key)
            self._failed(len(due))
            log.error("heads of %d users could not be fitted again; they stay as they are", len(due), exc_info=error)
            return []
        for key in due:
            self._waits.pop(key, None)
            if key in left:
                self.note(key)
        return [key for key in due if key not in left]

    def _due(self, version: str, now: float) -> list[UserKey]:
        while self._fitted_at and now - self._fitted_at[0] >= _MINUTE_S:
            self._fitted_at.popleft()
        room = self._per_minute - len(self._fitted_at)
        with self._lock:
            noted = list(self._noted)
        due = list[UserKey]()
        for key in noted:
            if len(due) >= room:
                break
            has_failed = key in self._waits
            # Who failed before is tried alone: others would fail with them again and again.
            if has_failed and (due or self._waits[key][1] > now):
                continue
            if not self._wanted(key) or self._news.of(key, version, ADAPTER) < self._least:
                with self._lock:
                    self._noted.pop(key, None)
                # What failed once, and is not wanted any more, must not make a later fit wait.
                self._waits.pop(key, None)
                continue
            due.append(key)
            if has_failed:
                break
        return due

    def _wait(self, keys: Iterable[UserKey], now: float) -> None:
        for key in keys:
            wait_s = self._waits.get(key, (_FIRST_WAIT_S, now))[0]
            self._waits[key] = min(2 * wait_s, _LONGEST_WAIT_S), now + wait_s
