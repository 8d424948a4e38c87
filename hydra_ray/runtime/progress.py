"""Shows what an actor knows of a running job."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ray


@contextlib.contextmanager
def watch(progress: Any, show: Callable[[Any], None], every_s: float = 0.5) -> Iterator[None]:
    """Shows the state from a thread for as long as the body runs."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(every_s):
            show(ray.get(progress.state.remote()))

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    # What was told after the last look.
    show(ray.get(progress.state.remote()))
