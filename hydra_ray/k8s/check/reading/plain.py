"""Values of YAML as Kubernetes takes them: JSON's, with text keys, without null, and of bounded size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

# YAML's aliases can make much of little, and a loop of nothing.
_DEEPEST, _MOST = 60, 200_000


class PlainError(ValueError):
    """A value that no JSON has.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path


def as_plain(value: Any) -> Any:
    """Return the value without fields that are null, which the API server takes for unset.

    Raises:
        PlainError: There is a key that is no text, a value that is none of JSON's, or far too much of them.
    """
    return _plain(value, "", 0, iter(range(_MOST)))


def _plain(value: Any, path: str, depth: int, left: Iterator[int]) -> Any:
    if next(left, None) is None:
        raise PlainError("", f"there are more than {_MOST} values (aliases that repeat each other?)")
    if depth > _DEEPEST:
        raise PlainError(path[:80], f"values are nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise PlainError(path, f'the key {key!r} is no text: write "{key}" in quotes')
        return {key: _plain(one, joined(path, key), depth + 1, left) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_item(one, f"{path}[{place}]", depth + 1, left) for place, one in enumerate(value)]
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise PlainError(path, f"a {type(value).__name__} is no value of a manifest: put it in quotes")


def _item(value: Any, path: str, depth: int, left: Iterator[int]) -> Any:
    if value is None:
        raise PlainError(path, "an item of a list is null: take it out")
    return _plain(value, path, depth, left)


def joined(path: str, key: str) -> str:
    """Return the path of a field: keys with dots in brackets, since they would read as several."""
    step = f'["{key}"]' if "." in key or "/" in key or not key else key
    return f"{path}{'' if step.startswith('[') or not path else '.'}{step}"
