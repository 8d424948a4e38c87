"""Which objects there are: those that are applied together, and those that are said to be elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, mapping, text

# Names objects that somebody else makes, as KIND/NAME with blanks between; any object of the set may have it.
ELSEWHERE = "hydra-ray/elsewhere"
_NAMED = re.compile(r"[A-Z][A-Za-z]*/[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
# What every cluster has.
_BUILT_IN = {
    ("PriorityClass", "system-cluster-critical"),
    ("PriorityClass", "system-node-critical"),
    ("ServiceAccount", "default"),
}


@dataclass(frozen=True, slots=True)
class Known:
    """What can be referred to.

    Attributes:
        things: The objects that are applied together.
        elsewhere: Kind and name of those that are elsewhere.
    """

    things: dict[tuple[str, str], Thing]
    elsewhere: frozenset[tuple[str, str]]

    def has(self, kind: str, name: str) -> bool:
        """Return whether there is such an object."""
        return (kind, name) in self.things or (kind, name) in self.elsewhere or (kind, name) in _BUILT_IN

    def missing(self, kind: str, name: str) -> str:
        """Return what a reference to an object that is not there is told."""
        return (
            f'there is no {kind} "{name}" among these manifests; one that is made elsewhere is told by the annotation '
            f"{ELSEWHERE}: {kind}/{name}"
        )

    def keys(self, kind: str, name: str) -> set[str] | None:
        """Return the keys of a ConfigMap or Secret; None where what it has is not known."""
        thing = self.things.get((kind, name))
        if thing is None:
            return None
        parts = ("data", "stringData", "binaryData")
        return {key for part in parts for key in mapping(dig(thing.tree, part))}


def known_of(things: Iterable[Thing], elsewhere: Iterable[str]) -> tuple[Known, list[Problem]]:
    """Return what there is, and what is wrong with how it is told.

    Args:
        things: Objects that are applied together.
        elsewhere: Further names of objects that are made elsewhere, as KIND/NAME.
    """
    by_name: dict[tuple[str, str], Thing] = {}
    named = set(elsewhere)
    problems = []
    for thing in things:
        key = (thing.kind, thing.name)
        other = by_name.setdefault(key, thing)
        if other is not thing and (other.api, other.namespace) == (thing.api, thing.namespace) and thing.name:
            problems.append(thing.problem("metadata.name", f"there is another {thing.shown}, in {other.file}"))
        for one in text(thing.annotations.get(ELSEWHERE)).split():
            if _NAMED.fullmatch(one):
                named.add(one)
            else:
                problems.append(thing.problem(f'metadata.annotations["{ELSEWHERE}"]', f'"{one}" is no KIND/NAME'))
    split = (one.partition("/") for one in named)
    return Known(by_name, frozenset((kind, name) for kind, _, name in split)), problems


def namespaces(things: Iterable[Thing]) -> Iterator[Problem]:
    """Yield objects that are in other namespaces than most: what they name is looked for in their own."""
    placed = [thing for thing in things if thing.namespace]
    first = next((thing.namespace for thing in placed), "")
    for thing in placed:
        if thing.namespace != first:
            said = f'it is in "{thing.namespace}", others in "{first}": they do not find each other'
            yield thing.problem("metadata.namespace", said)
