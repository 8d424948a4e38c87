"""Progress of encoding the users' texts: held by an actor that workers report to, and shown as bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hydra_ray.progress import ProgressBars

if TYPE_CHECKING:
    from hydra_ray.learn.heads.pipeline import Shard


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
        shards: The plan: users of a role each.
    """

    def __init__(self, bar: ProgressBars, shards: Sequence[Shard]) -> None:
        self._bar, self._shards = bar, shards
        users = Counter[str]()
        for shard in shards:
            users[shard.role] += len(shard.users)
        self._lines = {
            role: bar.add_task(f"Encoding texts for the {role}", total=count, note="users")
            for role, count in users.items()
        }

    def show(self, shares: Mapping[int, float]) -> None:
        """Shares of the shards' texts, by place in the plan."""
        done = dict.fromkeys(self._lines, 0.0)
        for place, share in shares.items():
            shard = self._shards[place]
            done[shard.role] += share * len(shard.users)
        for role, users in done.items():
            self._bar.update(self._lines[role], completed=users)
