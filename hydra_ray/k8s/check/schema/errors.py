"""What a JSON Schema finds, in words that name the field and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from hydra_ray.k8s.check.problems import shown
from hydra_ray.k8s.check.reading.plain import joined

_NAMES = {"string": "text", "object": "mapping", "array": "list", "boolean": "true or false", "null": "nothing"}
# Finds of these do not make types doubtful: rules may still be looked at.
_SHAPELESS = {"additionalProperties", "enum", "pattern"}


def schema_errors(validator: Draft202012Validator, tree: Any) -> tuple[list[tuple[str, str]], bool]:
    """Return what is wrong with an object, each with its path, and whether its types can be relied on."""
    found, shaped = [], True
    for error in validator.iter_errors(tree):
        found += list(_said(error))
        shaped &= error.validator in _SHAPELESS
    return found, shaped


def _said(error: ValidationError) -> Iterator[tuple[str, str]]:
    path = ""
    for step in error.absolute_path:
        path = f"{path}[{step}]" if isinstance(step, int) else joined(path, str(step))
    value, wanted = error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        for key in value.keys() - known.keys():
            near = difflib.get_close_matches(key, known, 1)
            yield joined(path, key), f"there is no such field{f': {near[0]} is meant?' if near else ''}"
    elif error.validator == "required":
        for key in wanted:
            if key not in value:
                yield joined(path, key), "it is missing"
    elif error.validator == "type":
        yield path, f"{shown(value)} is {_type(value)}, not {_wanted(wanted)}"
    elif error.validator in ("oneOf", "anyOf"):
        types = [one.get("type") for one in wanted]
        if all(types):
            yield path, f"{shown(value)} is {_type(value)}, not {' or '.join(map(_wanted, types))}"
        else:
            yield path, error.message
    elif error.validator == "enum":
        yield path, f"{shown(value)} is none of {', '.join(map(str, wanted))}"
    elif error.validator in ("minimum", "maximum"):
        yield path, f"{shown(value)} is out of range ({error.validator} {wanted})"
    elif error.validator == "pattern":
        yield path, f"{shown(value)} does not match {wanted}"
    else:
        yield path, error.message


def _wanted(types: Any) -> str:
    names = [types] if isinstance(types, str) else types
    return " or ".join(_NAMES.get(name, name) for name in names if name != "null" or len(names) == 1)


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    for kind, name in ((dict, "a mapping"), (list, "a list"), (str, "text"), (int, "a whole number")):
        if isinstance(value, kind):
            return name
    return "a number"
