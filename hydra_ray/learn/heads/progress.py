"""Progress of encoding the users' texts: held by an actor that workers report to, and shown as bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hydra_ray.progress import ProgressBars


class EncodeProgress:
    """Holds, as a Ray actor, how much of each shard is encoded; workers tell it and wait for nothing."""

    def __init__(self) -> None:
        self._shares: dict[int, float] = {}

    def encoded(self, place: int, share: float) -> None:
        """A share of a shard's texts is encoded; all where there are none."""
        self._shares[place] = share

    def state(self) -> dict[int, float]:
        """Shares by the shard's place in the plan."""
        return self._shares


class EncodeLines:
    """Shows how many users' texts are encoded, a line of a progress bar for each role that has any.

    Args:
        bar: Where lines are added.
        sizes: Role and number of users of each shard of the plan.
    """

    def __init__(self, bar: ProgressBars, sizes: Sequence[tuple[str, int]]) -> None:
        self._bar, self._sizes = bar, sizes
        users = Counter[str]()
        for role, count in sizes:
            users[role] += count
        self._lines = {
            role: bar.add_task(f"Encoding texts for the {role}", total=count, note="users")
            for role, count in users.items()
        }

    def show(self, shares: Mapping[int, float]) -> None:
        """Shares of the shards' texts, by place in the plan."""
        done = dict.fromkeys(self._lines, 0.0)
        for place, share in shares.items():
            role, count = self._sizes[place]
            done[role] += share * count
        for role, users in done.items():
            self._bar.update(self._lines[role], completed=users)
