"""Does something again and again beside a replica's requests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Poller:
    """Calls a function every few seconds in a thread of its own; what goes wrong is logged, and tried again.

    Args:
        poll: The function.
        every_s: Seconds between two calls.
    """

    def __init__(self, poll: Callable[[], None], every_s: float) -> None:
        self._poll, self._every_s = poll, every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="versions")
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether it was ended."""
        return self._end.is_set()

    def close(self) -> None:
        """Ends the thread, once a call under way is done."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            try:
                self._poll()
            except Exception as error:
                log.warning("%s failed, and is tried again", self._poll.__qualname__, exc_info=error)
