"""Time that passes because a test says so, or because nothing else is left to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Clock:
    """Stands in for the module `time`: it stands still but for sleeps and what a test adds.

    Attributes:
        now: Seconds since whatever the code under test counts from.
        slept: Each wait that was asked for, in seconds.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    monotonic = perf_counter = process_time = time

    async def sleep(self, seconds: float) -> None:
        """Lets everybody else run first; those who sleep at once wake at their own moments."""
        self.slept.append(seconds)
        wakes_at = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, wakes_at)


class TickingClock(Clock):
    """A second passes with each look at it."""

    def time(self) -> float:
        self.now += 1
        return self.now

    monotonic = perf_counter = process_time = time


class _SkippingSelector(selectors.DefaultSelector):
    """Where a loop would wait for its next timer, counts the wait and returns at once."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout else timeout)
        if timeout and not ready:
            self.skipped += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop of its own time, which jumps from timer to timer. For code that talks to nobody outside."""

    def __init__(self) -> None:
        self._selecting = _SkippingSelector()
        super().__init__(self._selecting)

    def time(self) -> float:
        return self._selecting.skipped


def run_skipping(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine as `asyncio.run` does, without waiting; its loop's time begins at 0."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(main)
