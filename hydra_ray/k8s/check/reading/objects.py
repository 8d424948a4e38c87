"""One object of a manifest, and ways into it that wrong types do not break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra_ray.k8s.check.problems import Problem


@dataclass(slots=True, eq=False)
class Thing:
    """An object.

    Attributes:
        file: File that it is in, as it was named.
        tree: All of it, as plain values.
        shaped: Whether its types are those of its schema, so that rules may rely on them.
    """

    file: str
    tree: dict[str, Any]
    shaped: bool = field(default=False)

    @property
    def api(self) -> str:
        """API group and version, e.g. `ray.io/v1`."""
        return text(self.tree.get("apiVersion"))

    @property
    def kind(self) -> str:
        """Its kind."""
        return text(self.tree.get("kind"))

    @property
    def name(self) -> str:
        """Its name."""
        return text(mapping(self.tree.get("metadata")).get("name"))

    @property
    def namespace(self) -> str:
        """Its namespace; empty where it takes the one that it is applied to."""
        return text(mapping(self.tree.get("metadata")).get("namespace"))

    @property
    def shown(self) -> str:
        """Kind and name."""
        return f"{self.kind or '?'}/{self.name or '?'}"

    @property
    def annotations(self) -> Mapping[str, Any]:
        """Its annotations."""
        return mapping(mapping(self.tree.get("metadata")).get("annotations"))

    @property
    def labels(self) -> Mapping[str, Any]:
        """Its labels."""
        return mapping(mapping(self.tree.get("metadata")).get("labels"))

    def problem(self, path: str, said: str) -> Problem:
        """Return a problem of this object."""
        return Problem(self.file, self.shown, path, said)


def dig(tree: Any, *keys: str) -> Any:
    """Return what is at a path of keys, None where there is nothing or something on the way is no mapping."""
    for key in keys:
        tree = mapping(tree).get(key)
    return tree


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def mappings(value: Any) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the mappings of a list, each with its place in it."""
    return [(place, one) for place, one in enumerate(items(value)) if isinstance(one, dict)]


def text(value: Any) -> str:
    """Return the value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""
