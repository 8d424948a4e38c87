"""Reads manifests that are JSON: not all of it is YAML, which knows no tabs and no pairs of surrogates."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class JSONFileError(ValueError):
    """JSON that cannot be used; the message reads on from the file's name, on one line."""


def parse_json(text: str) -> list[Any]:
    """Return the values of a JSON text, one after the other as `kubectl` takes them.

    Raises:
        JSONFileError: The text is no JSON, or says a key twice.
    """
    values, place = [], 0
    while (place := _blanks(text, place)) < len(text):
        try:
            value, place = _DECODER.raw_decode(text, place)
        except JSONFileError:
            raise
        except json.JSONDecodeError as error:
            at = f"line {error.lineno}, column {error.colno}"
            raise JSONFileError(f"not valid JSON at {at}: {error.msg}.") from None
        except (ValueError, RecursionError) as error:
            raise JSONFileError(f"not valid JSON: {' '.join(str(error).split())}.") from None
        values.append(value)
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise JSONFileError("half a surrogate pair is in a text, which no file takes. Take it out.") from None
    return values


def _blanks(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise JSONFileError(f'ambiguous: the key "{key}" is there twice in an object. Make one of them.')
        found[key] = value
    return found


def _no_number(text: str) -> NoReturn:
    raise JSONFileError(f"not valid JSON: {text} is no number.")


_DECODER = json.JSONDecoder(object_pairs_hook=_once_each, parse_constant=_no_number)
