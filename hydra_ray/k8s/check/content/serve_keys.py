"""Finds keys that Ray's Serve config ignores, misspelt ones among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from ray.serve.schema import ServeDeploySchema


def unknown_keys(tree: Any, shape: Any = ServeDeploySchema, path: str = "") -> Iterator[str]:
    """Paths of keys that Ray's models do not have, at any level.

    What a model declares as a plain dictionary (`args`, `user_config`, `runtime_env`) is not looked into.

    Args:
        tree: Plain values, as YAML gives them.
        shape: Type of the tree, as pydantic's models annotate it.
        path: Where the tree is in the whole.
    """
    if isinstance(tree, list):
        for place, item in enumerate(tree):
            for inner in _arguments(shape, list, 0):
                yield from unknown_keys(item, inner, f"{path}[{place}]")
        return
    if not isinstance(tree, dict):
        return
    for model in _models(shape):
        fields = {field.alias or name: field for name, field in model.model_fields.items()} | model.model_fields
        for key, value in tree.items():
            inner = f"{path}.{key}" if path else str(key)
            if key in fields:
                yield from unknown_keys(value, fields[key].annotation, inner)
            else:
                yield inner
    for inner in _arguments(shape, dict, 1):
        for key, value in tree.items():
            yield from unknown_keys(value, inner, f"{path}.{key}")


def _choices(shape: Any) -> list[Any]:
    """The types that an annotation allows: `Model | dict | None` gives the three."""
    if get_origin(shape) is Annotated:
        return _choices(get_args(shape)[0])
    if get_origin(shape) in (list, dict) or not get_args(shape):
        return [shape]
    return [choice for part in get_args(shape) for choice in _choices(part)]


def _models(shape: Any) -> list[type[BaseModel]]:
    return [choice for choice in _choices(shape) if isinstance(choice, type) and issubclass(choice, BaseModel)]


def _arguments(shape: Any, container: type, place: int) -> list[Any]:
    """The item types of those choices that are a list, or the value types of those that are a dictionary."""
    whole = [choice for choice in _choices(shape) if get_origin(choice) is container and get_args(choice)]
    return [get_args(choice)[place] for choice in whole]
