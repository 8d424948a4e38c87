"""When a replica looks at users of whom something may not be encoded, and who is next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hydra_ray.records import HistoryItem, UserKey

# After a round that found nothing the next one waits for twice as long, up to so many seconds.
_LONGEST_REST_S = 1_800.0


class Look(NamedTuple):
    """How a replica finds users.

    Attributes:
        users: Gives some of those who come after one, in an order that stays; nobody after the last.
        newest: Gives a user's newest items.
    """

    users: Callable[[UserKey | None], Sequence[UserKey]]
    newest: Callable[[UserKey], Sequence[HistoryItem]]


class Rounds:
    """Rounds through all users, some at each look.

    Args:
        every_s: Seconds between two looks.
        clock: Gives seconds that never jump.

    Attributes:
        after: User who was looked at last in this round; None at its beginning.
        has_found: Whether something was missing in this round.
    """

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s, self._rest_s, self._clock = every_s, every_s, clock
        self._due_at = clock() + every_s
        self.after: UserKey | None = None
        self.has_found = False

    def left_s(self) -> float:
        """Return the seconds until the next look; none are left where it is due."""
        return max(0.0, self._due_at - self._clock())

    def begin(self) -> None:
        """Notes that somebody looks now, so that a look that fails is not repeated at once."""
        self._due_at = self._clock() + self._every_s

    def end(self) -> None:
        """Notes that nobody comes after the last one: the next round begins, later if this one found nothing."""
        self._rest_s = self._every_s if self.has_found else min(2 * self._rest_s, max(_LONGEST_REST_S, self._every_s))
        self._due_at = self._clock() + self._rest_s
        self.after, self.has_found = None, False

    def hurry(self) -> None:
        """Notes that users are telling something: there may be more."""
        self._rest_s = self._every_s
        self._due_at = min(self._due_at, self._clock() + self._every_s)
