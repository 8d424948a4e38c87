"""Users of a data set a few at a time, so that nobody has to hold all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.records import UserKey


class UserSource(Protocol):
    """Users in a stable order, known by their places in it; it can be pickled, and read in another process."""

    @property
    def is_here(self) -> bool:
        """Whether only processes of this machine can read it."""

    def __len__(self) -> int:
        """Return how many there are."""

    def key(self, place: int) -> UserKey:
        """Return the user at a place."""

    def part(self, places: Sequence[int], known: Mapping[UserKey, User] | None = None) -> Dataset:
        """Return the users of some places with all that is known of their queries, as they are now.

        Args:
            places: Places, whose users come in the same order.
            known: Users as the store has them, where somebody has read them already.
        """

    def close(self) -> None:
        """Let go what was opened to read users; it is opened again where they are read again."""


@dataclass(frozen=True, slots=True)
class HeldUsers:
    """Users of records, which are in memory as a whole since records come in any order."""

    dataset: Dataset
    is_here: bool = False

    def __len__(self) -> int:
        return len(self.dataset.users)

    def key(self, place: int) -> UserKey:
        """Return the user at a place."""
        return self.dataset.users[place].key

    def part(self, places: Sequence[int], known: Mapping[UserKey, User] | None = None) -> Dataset:
        """Return the users of some places, as the records have them."""
        return replace(self.dataset, users=tuple(self.dataset.users[place] for place in places))

    def close(self) -> None:
        """Records need nothing open."""


def parts(source: UserSource, size: int) -> Iterator[range]:
    """Yield the places of all users of a source, so many at a time."""
    for start in range(0, len(source), size):
        yield range(start, min(len(source), start + size))
