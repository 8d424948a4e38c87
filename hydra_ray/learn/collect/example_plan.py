"""The plan of a collection as numbers: which user's which query, in order; examples are made when they are wanted."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain
from typing import overload

import numpy as np
import numpy.typing as npt

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.data.user_source import UserSource, parts
from hydra_ray.learn.collect.plan import Example, calls_of, pseudo_example, real_examples, user_examples
from hydra_ray.learn.collect.rows import ExampleId, ExampleKey
from hydra_ray.settings import Settings

# Users who are looked at together while a plan is made.
USERS_AT_ONCE = 1_000
_DIGEST = np.dtype("S16")

Digests = npt.NDArray[np.bytes_]


class GoneError(Exception):
    """What was planned to be asked about was deleted meanwhile."""


def tried_items(settings: Settings) -> int:
    """Return how many retrieved items of a query are tried one at a time at most; they teach the reranker alone."""
    return settings.feedback.items if settings.method.rerank else 0


@dataclass(frozen=True, slots=True)
class ExampleRules:
    """What decides which examples are planned; `plan_examples` documents the fields."""

    pseudo_queries: int
    use_golds: bool
    items: int
    candidate_calls: int
    max_calls: int | None
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class ExamplePlan(Sequence[Example]):
    """Examples in the order in which they are asked, as `plan_examples` gives them; each takes 21 bytes.

    Attributes:
        users: Whose queries they are.
        rules: What the plan was made by.
        places: Place of each example's user, shape (examples,).
        digests: Digest of each example's id (`id_digest`), shape (examples,).
        pseudo: Whether each is a history item asked again, shape (examples,).
    """

    users: UserSource
    rules: ExampleRules
    places: npt.NDArray[np.int32]
    digests: Digests
    pseudo: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> ExamplePlan: ...

    def __getitem__(self, index: int | slice) -> Example | ExamplePlan:
        """Return the example at a place of the plan with the history that it may see now, or a part of the plan.

        Raises:
            GoneError: It was deleted since it was planned.
        """
        if isinstance(index, slice):
            return self._where(np.arange(len(self))[index])
        dataset = self.users.part([int(self.places[index])])
        wanted, pseudo = bytes(self.digests[index]), bool(self.pseudo[index])
        example = _found(dataset, dataset.users[0], pseudo, wanted)
        if example is None:
            raise GoneError
        return example

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples; those that were deleted meanwhile are left out."""
        for index in range(len(self)):
            try:
                yield self[index]
            except GoneError:
                continue

    def without(self, done: Digests) -> ExamplePlan:
        """Return the examples that are not among some, whose digests come in order."""
        return self._where(np.flatnonzero(~_among(self.digests, done)))

    def by_user(self) -> PlannedOfUsers:
        """Return which examples are planned, to be looked up by user."""
        order = np.argsort(self.places, kind="stable")
        return PlannedOfUsers(self.places[order], self.digests[order], self.pseudo[order])

    def _where(self, chosen: npt.NDArray[np.intp]) -> ExamplePlan:
        return replace(self, places=self.places[chosen], digests=self.digests[chosen], pseudo=self.pseudo[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class PlannedOfUsers:
    """Planned examples in the order of their users' places."""

    places: npt.NDArray[np.int32]
    digests: Digests
    pseudo: npt.NDArray[np.bool_]

    def of(self, users: Sequence[int]) -> Planned:
        """Return what is planned of the users at some places."""
        found = set[tuple[bytes, bool]]()
        # Of their own type: numpy would copy all places to another one, at each look-up.
        wanted = np.asarray(users, self.places.dtype)
        starts, ends = (np.searchsorted(self.places, wanted, side=side) for side in ("left", "right"))
        for mine in map(slice, starts, ends):
            found.update(zip(map(bytes, self.digests[mine]), self.pseudo[mine].tolist(), strict=True))
        return Planned(frozenset(found))


@dataclass(frozen=True, slots=True)
class Planned:
    """Some planned examples, of which it is asked whether an example is one."""

    _examples: frozenset[tuple[bytes, bool]]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, ExampleKey) and (id_digest(key.example_id), key.pseudo) in self._examples


def id_digest(example_id: ExampleId) -> bytes:
    """Return the digest that stands for an example's id; two that are the same are not to be expected in 10^18."""
    # Arrays of bytes know nothing of zeros at the end.
    return blake2b("\0".join(example_id).encode("utf-8", "surrogatepass"), digest_size=16).digest().rstrip(b"\0")


def plan_users(users: UserSource, rules: ExampleRules, users_at_once: int = USERS_AT_ONCE) -> ExamplePlan:
    """Plan what `plan_examples` would of the same users, without all of them in memory.

    Args:
        users: The chosen users.
        rules: What decides which examples are planned.
        users_at_once: How many are looked at together; nothing depends on it.
    """
    found = [_planned_part(users, rules, places) for places in parts(users, users_at_once)]
    places, numbers, calls, digests, pseudo = (
        (np.concatenate(column) for column in zip(*found, strict=True)) if (found) else _columns([])
    )
    drawn = list(range(len(users)))
    random.Random(rules.seed).shuffle(drawn)
    rank = np.empty(len(users), np.int32)
    rank[drawn] = np.arange(len(users), dtype=np.int32)
    # Every user's first, then every user's second, and so on.
    order = np.lexsort((rank[places], numbers))
    if rules.max_calls is not None:
        order = order[: int(np.searchsorted(np.cumsum(calls[order]), rules.max_calls, side="right"))]
    return ExamplePlan(users, rules, places[order], digests[order], pseudo[order])


def _planned_part(users: UserSource, rules: ExampleRules, places: range) -> tuple[npt.NDArray, ...]:
    dataset = users.part(places)
    rows = [
        (place, number, calls_of(example, rules.items, rules.candidate_calls), example)
        for place, user in zip(places, dataset.users, strict=True)
        for number, example in enumerate(
            user_examples(dataset, user, rules.pseudo_queries, rules.use_golds, rules.seed)
        )
    ]
    return _columns(rows)


def _columns(rows: Sequence[tuple[int, int, int, Example]]) -> tuple[npt.NDArray, ...]:
    return (
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.int64),
        np.array([id_digest(row[3].key.example_id) for row in rows], _DIGEST),
        np.array([row[3].pseudo for row in rows], bool),
    )


def _found(dataset: Dataset, user: User, pseudo: bool, wanted: bytes) -> Example | None:
    """Return a user's example by digest, also one that would not be drawn now, since the history grew meanwhile."""
    # Ids are compared first: each example has a history of its own.
    if pseudo:
        for place, item in enumerate(user.history):
            if id_digest(ExampleKey.of_item(user.key, item.id).example_id) == wanted:
                return pseudo_example(user, place, dataset.same_time)
        return None
    asked = (one for one in user.queries if id_digest(ExampleKey(*one.user, one.id, False).example_id) == wanted)
    return next(chain.from_iterable(real_examples(dataset, replace(user, queries=(one,))) for one in asked), None)


def _among(digests: Digests, done: Digests) -> npt.NDArray[np.bool_]:
    if not len(done):
        return np.zeros(len(digests), bool)
    at = np.minimum(np.searchsorted(done, digests), len(done) - 1)
    return done[at] == digests
