"""Writes completions into the log beside requests: none waits for it, and none fails by it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from threading import Condition, Thread

from hydra_ray.settings import CompletionLogSettings
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.completions.records import Completion
from hydra_ray.store.types import StoreError

log = logging.getLogger(__name__)

_DAY_S = 86_400
# Completions that come within so long are one transaction. Feedback that comes earlier finds them in the queue.
_GATHER_S = 0.2
# A store that does not answer is asked again after so long.
_AGAIN_S = 2.0
# What is too old is looked for so often.
_TIDY_S = 600.0
# At its end a replica tries for so long.
_CLOSE_S = 5.0
_AT_ONCE = 500
# Who speaks of a completion waits for it as long.
WRITTEN_WITHIN_S = 5.0
# Another replica may not have written a completion yet: it is looked for again after so long.
_LOOK_AGAIN_S = (0.25, 0.5, 1.0)
_OF_COMPLETIONS = re.compile("chatcmpl-[0-9a-f]{32}")


def look_again_s(completion_id: str) -> tuple[float, ...]:
    """Return the pauses, in seconds, after which a completion is looked for again; none where the id is not one's."""
    return _LOOK_AGAIN_S if _OF_COMPLETIONS.fullmatch(completion_id) else ()


class CompletionWriter:
    """A bounded queue of completions, and the thread that writes them.

    Where the store does not answer, completions wait until it does, as many as the queue takes. What finds no room is
    not kept: it is counted and logged, and the request knows nothing of it.

    Args:
        completions: The log.
        settings: Say how long, and how many, completions are kept.
        lost: Called with the number of completions that are not kept.
    """

    def __init__(
        self, completions: CompletionLog, settings: CompletionLogSettings, lost: Callable[[int], None]
    ) -> None:
        self._log, self._settings, self._lost = completions, settings, lost
        self._waiting = dict[tuple[str, str], Completion]()
        self._changed, self._closed, self._is_full = Condition(), False, False
        self._tidied_s = float("-inf")
        self._thread = Thread(target=self._run, daemon=True, name="completions")
        # Also where nothing is kept any more: what was kept before grows old.
        self._thread.start()

    def put(self, completion: Completion) -> None:
        """Has a completion written soon; returns at once."""
        if not self._settings.enabled:
            return
        with self._changed:
            has_room = len(self._waiting) < self._settings.queue and not self._closed
            if has_room:
                self._waiting[completion.tenant, completion.id] = completion
                self._changed.notify_all()
            began, self._is_full = not has_room and not self._is_full, not has_room
        if not has_room:
            self._lost(1)
        if began:
            log.warning("completions are not kept: %d wait for the store (serve.completions.queue)", len(self._waiting))

    def settle(self, tenant: str, completion_id: str, timeout_s: float) -> bool:
        """Waits until a completion is not in the queue; returns whether it is out of it.

        Args:
            tenant: Tenant of the completion.
            completion_id: Id of the completion.
            timeout_s: Longest wait, in seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: (tenant, completion_id) not in self._waiting, timeout_s)

    def close(self) -> None:
        """Writes what waits, and ends the thread; what the store does not take by then is not kept."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)
        with self._changed:
            left, self._waiting = len(self._waiting), {}
        if left:
            self._lost(left)
            log.warning("%d completions are not kept: the store did not take them before the end", left)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed, _TIDY_S)
                if self._closed and not self._waiting:
                    return
                if not self._closed:
                    self._changed.wait_for(lambda: self._closed, _GATHER_S)
                batch = dict(list(self._waiting.items())[:_AT_ONCE])
            try:
                self._log.add(batch.values())
                self._tidy()
            except StoreError as error:
                log.warning("completions wait: the store did not take them", exc_info=error)
                if self._wait_or_end():
                    return
                continue
            except Exception as error:
                # The thread must go on: what it cannot write it will never write.
                log.error("%d completions are not kept", len(batch), exc_info=error)
                self._lost(len(batch))
            with self._changed:
                for written in batch:
                    self._waiting.pop(written, None)
                self._changed.notify_all()

    def _wait_or_end(self) -> bool:
        """Waits before the store is asked again; returns whether there is no time for that."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, _AGAIN_S)

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied_s < _TIDY_S:
            return
        old = self._log.expire(time.time() - self._settings.days * _DAY_S)
        many = self._log.shorten(self._settings.max_rows)
        if old or many:
            log.info("%d completions were too old, %d too many", old, many)
        self._tidied_s = time.monotonic()
