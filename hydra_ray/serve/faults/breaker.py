"""Circuit breakers: a step that failed in a row is not asked for a while, and costs nobody its time-out."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Literal

from hydra_ray.steps.generate import GenerateError

log = logging.getLogger(__name__)

State = Literal["closed", "open", "half-open"]


class UnavailableError(GenerateError):
    """The LLM failed several times in a row and is not asked now.

    Attributes:
        retry_after_s: Seconds until it is tried again.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, "unavailable", transient=True)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type[UnavailableError], tuple[str, float]]:
        """Keeps its attributes on the way between Ray's processes."""
        return type(self), (str(self), self.retry_after_s)


@dataclass(slots=True)
class Breaker:
    """Counts the failures of one step, as one replica of the ingress sees them.

    Closed, all requests ask the step. After so many failures in a row it is open, and none do. When it has been open
    long enough it is half-open: one request tries, the others wait for what it finds. Whoever tries and goes away
    without having found anything (a client that hung up) leaves the next try to another after the same time.

    Args:
        name: Name of the step, for the log.
        failures: Failures in a row that open it.
        open_s: Seconds for which it stays open.
    """

    name: str
    failures: int
    open_s: float
    _failed: int = field(default=0, init=False)
    _tries_at: float = field(default=0.0, init=False)
    _last_answer: float | None = field(default=None, init=False)

    @property
    def state(self) -> State:
        """Whether requests ask the step."""
        if self._failed < self.failures:
            return "closed"
        return "open" if time.monotonic() < self._tries_at else "half-open"

    @property
    def waits_s(self) -> float:
        """Seconds until the next request tries."""
        return max(0.0, self._tries_at - time.monotonic()) if self._failed >= self.failures else 0.0

    def admits(self) -> bool:
        """Whether a request may ask the step now; where it is half-open, the one that is told so tries."""
        if self._failed < self.failures:
            return True
        now = time.monotonic()
        if now < self._tries_at:
            return False
        self._tries_at = now + self.open_s
        return True

    def succeeded(self) -> None:
        """The step answered: it is asked by all again."""
        if self._failed >= self.failures:
            log.warning("the %s answers again", self.name)
        self._failed, self._last_answer = 0, time.monotonic()

    def failed(self) -> None:
        """The step gave no answer, or none in its time."""
        self._failed += 1
        if self._failed >= self.failures:
            self._tries_at = time.monotonic() + self.open_s
        if self._failed == self.failures:
            log.error("the %s failed %d times in a row: it is not asked for %g s", self.name, self._failed, self.open_s)

    def answered_within(self, seconds: float) -> bool:
        """Whether the step answered anything in the last so many seconds."""
        return self._last_answer is not None and time.monotonic() - self._last_answer <= seconds


class Breakers:
    """A breaker for each step, made when it is first asked.

    Args:
        failures: Failures in a row that open one.
        open_s: Seconds for which it stays open.
    """

    def __init__(self, failures: int, open_s: float) -> None:
        self._failures, self._open_s = failures, open_s
        self._by_name: dict[str, Breaker] = {}

    def of(self, name: str) -> Breaker:
        """Return the breaker of a step."""
        if name not in self._by_name:
            self._by_name[name] = Breaker(name, self._failures, self._open_s)
        return self._by_name[name]

    def states(self) -> dict[str, State]:
        """Return the state of each step that was asked."""
        return {name: breaker.state for name, breaker in self._by_name.items()}
