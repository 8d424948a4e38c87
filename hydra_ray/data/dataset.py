"""A data set as methods see it: users with their histories and queries, and what reading left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from hydra_ray.records import HistoryItem, Query, UserKey


@dataclass(frozen=True, slots=True)
class User:
    """A user's whole history, oldest first, and their queries."""

    key: UserKey
    history: tuple[HistoryItem, ...]
    queries: tuple[Query, ...] = ()


@dataclass(slots=True)
class LeftOut:
    """Counts what reading left out or changed: the number of records by reason, with the first few places of each.

    Attributes:
        counts: Number of records by reason.
        examples: Places of the first few, by reason, e.g. `records.jsonl, line 17`.
    """

    KEPT: ClassVar[int] = 10

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, reason: str, place: str) -> None:
        """Count one record; its place is kept if it is among the first of its reason."""
        self.counts[reason] += 1
        places = self.examples.setdefault(reason, [])
        if len(places) < self.KEPT:
            places.append(place)

    def add(self, other: LeftOut) -> None:
        """Add the counts and places of another one."""
        self.counts.update(other.counts)
        for reason, places in other.examples.items():
            kept = self.examples.setdefault(reason, [])
            kept += places[: self.KEPT - len(kept)]


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split of a data set.

    Attributes:
        users: Users in a stable order.
        golds: Preferred answer by query id; empty for data without answers.
        visible: Ids of the history items each query may see, by query id; a query that is not
            listed sees its user's whole history.
        pairs: Whether history items are queries with the user's answers, which can be asked again; else they only
            describe the user.
        same_time: Whether a query may see items of its own date, since they are known to be earlier all the same.
        left_out: Records that reading left out or changed; data sets that differ in these only are equal.
        rejected: Answer that the user would not have in place of the preferred one, by query id, where one is known.
    """

    users: tuple[User, ...]
    golds: Mapping[str, str] = field(default_factory=dict)
    visible: Mapping[str, frozenset[str]] = field(default_factory=dict)
    pairs: bool = True
    same_time: bool = True
    left_out: LeftOut = field(default_factory=LeftOut, compare=False)
    rejected: Mapping[str, str] = field(default_factory=dict)

    def history(self, user: User, query: Query) -> tuple[HistoryItem, ...]:
        """Return the part of the user's history that the query may see."""
        visible = self.visible.get(query.id)
        if visible is None:
            return user.history
        return tuple(item for item in user.history if item.id in visible)
