"""What a replica still does when Serve lets it go."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread


def ending(do: Callable[[], None]) -> None:
    """Does something at the end of a replica, in a thread of its own: for use in `__del__`.

    Serve calls `__del__` before it kills the process. But so does Python whenever it collects garbage: perhaps within a
    transaction of this very thread, which a write by another connection would wait for in vain. Where the process is
    gone before it is done, what the replica held ends with its lease.

    Args:
        do: What is done; it logs what goes wrong.
    """
    Thread(target=do, daemon=True, name="ending").start()
