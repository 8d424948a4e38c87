"""Connections to PostgreSQL: what all that is applied together may open, against what the database holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, text
from hydra_ray.settings import Settings

# How many connections the database takes from us, on any object of the set.
HOLDS = "hydra-ray/database-connections"
# Most connections of a process without a cap (store.connections.server).
_OF_A_PROCESS = 8
# Places beside the slots: store.connections.slots.
_A_DOOR_IN, _FEWEST_DOORS = 8, 2


@dataclass(frozen=True, slots=True)
class Opener:
    """Something that opens a store.

    Attributes:
        thing: Object that it is in.
        path: Where its settings are.
        settings: hydra-ray's settings by which it opens the store: they name it and cap its connections.
        processes: Most processes of it that open the store.
        hosts: Most pods that they are on.
        is_job: Whether it runs for a while only; jobs run one after the other.
    """

    thing: Thing
    path: str
    settings: Settings
    processes: int
    hosts: int
    is_job: bool


def check_connections(openers: Sequence[Opener], things: Iterable[Thing]) -> Iterator[Problem | str]:
    """Yield what does not fit, and a note where the size of the database is not known."""
    by_url: dict[str, list[Opener]] = {}
    for one in openers:
        url = one.settings.store.url or ""
        if url.startswith("postgresql"):
            by_url.setdefault(url, []).append(one)
    holds = [(thing, text(thing.annotations.get(HOLDS))) for thing in things if HOLDS in thing.annotations]
    for thing, given in holds:
        if not given.isascii() or not given.isdigit():
            yield thing.problem(f'metadata.annotations["{HOLDS}"]', "it is how many connections the database takes")
            return
    for url, users in by_url.items():
        first = users[0]
        cap = first.settings.store.max_connections
        for other in users[1:]:
            theirs = other.settings.store.max_connections
            if theirs != cap:
                said = (
                    f"store.max_connections is {_shown(theirs)} here and {_shown(cap)} in {first.thing.shown}: who "
                    f"shares a database ({url}) says the same"
                )
                yield other.thing.problem(other.path, said)
        if not holds:
            said = f"not checked: how many connections {url} takes (annotation {HOLDS})"
            yield f"{first.thing.file}: {first.thing.shown}: {said}"
            continue
        most, why = _most(cap, users)
        if most > int(holds[0][1]):
            said = f"{most} connections may be open to {url} ({why}), which takes {holds[0][1]} ({HOLDS})"
            yield first.thing.problem(first.path, said)


def _most(cap: int | None, users: Sequence[Opener]) -> tuple[int, str]:
    stay, jobs = [one for one in users if not one.is_job], [one for one in users if one.is_job]
    processes = sum(one.processes for one in stay) + max((one.processes for one in jobs), default=0)
    hosts = sum(one.hosts for one in stay) + max((one.hosts for one in jobs), default=0)
    if cap is None:
        return processes * _OF_A_PROCESS, f"no store.max_connections, {processes} processes of {_OF_A_PROCESS}"
    # While all hosts wait, each has a connection more than the places for that: docs/serving.md.
    more = max(0, hosts - max(_FEWEST_DOORS, cap // _A_DOOR_IN))
    return cap + more, f"store.max_connections {cap}, and {more} of {hosts} hosts that wait"


def _shown(cap: int | None) -> str:
    return "null" if cap is None else str(cap)
