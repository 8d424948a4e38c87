"""What a replica still does when Serve lets it go."""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable


def ending(do: Callable[[], None]) -> None:
    """Does something at the end of a replica, in a thread of its own: for use in `__del__`.

    Serve calls `__del__` before it kills the process. But so does Python whenever it collects garbage: perhaps within a
    transaction of this very thread, which a write by another connection would wait for in vain, or while the process
    ends and starts no thread any more, which `Thread.start` would wait for in vain. So nothing is waited for here.
    Where the process is gone before it is done, what the replica held ends with its lease.

    Args:
        do: What is done; it logs what goes wrong.
    """
    if not sys.is_finalizing():
        _thread.start_new_thread(do, ())
