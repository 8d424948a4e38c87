"""Answers that are JSON: which schemas clients may ask for, and which answers keep to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jsonschema
import jsonschema.validators
import regex
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

# A client's pattern may take exponential time.
_PATTERN_S = 0.1
_DEEPEST = 64


def check_schema(schema: Any) -> None:
    """Checks a JSON schema that a client sent.

    Raises:
        ValueError: It is no schema, or has what costs more to check than a client may ask for.
    """
    if not isinstance(schema, dict):
        raise ValueError("an object is wanted")
    for keyword in _keywords(schema):
        if keyword in ("patternProperties", "$dynamicRef", "$recursiveRef"):
            raise ValueError(f"{keyword} is not permitted")
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        place = "".join(f"[{part!r}]" for part in error.absolute_path)
        raise ValueError(f"{place or 'the schema'}: {error.message[:200]}") from None
    except regex.error as error:
        raise ValueError(f"a pattern is no regular expression: {error}") from None


def is_valid(text: str, response_format: str) -> bool:
    """Return whether an answer has the form that was asked for.

    Args:
        text: The answer.
        response_format: OpenAI's object as JSON; "" is text, which every answer is.
    """
    if not response_format:
        return True
    wanted = json.loads(response_format)
    try:
        value = json.loads(text)
        if wanted["type"] == "json_object":
            return isinstance(value, dict)
        return _validator(json.dumps(wanted["json_schema"].get("schema", {}))).is_valid(value)
    except (ValueError, RecursionError, Unresolvable, TimeoutError, regex.error):
        return False


def same_value(text: str) -> str:
    """Return what JSON texts of the same value have in common; a text that is no JSON stands for itself."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return text


def _keywords(schema: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    if isinstance(schema, dict):
        yield from schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _keywords(inner, depth + 1)


@lru_cache(maxsize=64)
def _validator(schema: str) -> Validator:
    # Nothing is fetched: what a reference names has to be in the schema.
    return _WithinTime(json.loads(schema), registry=Registry())


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(value, str) and not regex.search(pattern, value, timeout=_PATTERN_S):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


_WithinTime = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})
