"""How an endpoint is: when it wants to be asked again, and whether it did well lately."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

# An endpoint that failed is asked last for so long.
COOL_DOWN_S = 30.0
# Longest wait that an endpoint may ask for.
MAX_CLOSED_S = 3600.0


class Health:
    """Whether one endpoint should be asked now, by what it said and how it did lately."""

    def __init__(self) -> None:
        self._opens_at = 0.0
        self._rests_until = 0.0

    def closed_for(self) -> float:
        """Seconds for which the endpoint still asks not to be asked."""
        return max(0.0, self._opens_at - time.monotonic())

    def close_for(self, seconds: float) -> None:
        """Takes a wait that the endpoint asks for."""
        self._opens_at = max(self._opens_at, time.monotonic() + min(seconds, MAX_CLOSED_S))

    def reluctance(self) -> tuple[bool, bool]:
        """Of several endpoints the one with the least is asked."""
        return self.closed_for() > 0, self._rests_until > time.monotonic()

    def probe(self) -> None:
        """A request is about to ask. After a rest it is the only one to try, until it knows."""
        if self._rests_until:
            self._rests_until = time.monotonic() + COOL_DOWN_S

    def note(self, well: bool) -> None:
        """Takes how that went."""
        self._rests_until = 0.0 if well else time.monotonic() + COOL_DOWN_S


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a response asks to wait; 0 where it does not say, or nothing that makes sense."""
    text = headers.get("retry-after", "")
    waits = (_number(headers.get("retry-after-ms", "")) / 1000, _number(text), _until(text))
    return next((seconds for seconds in waits if math.isfinite(seconds) and seconds > 0), 0.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return math.nan
