"""Reads JSON Lines (one object a line) and JSON arrays of objects."""

from __future__ import annotations

import io
import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

from hydra_ray.data.bad_records import BadRecords
from hydra_ray.data.errors import DataError, RecordError
from hydra_ray.data.fields import Fields, parse_json
from hydra_ray.data.sources.files import DataFile
from hydra_ray.data.sources.streams import head_of, opened
from hydra_ray.utf8 import EncodingError, decode


def read_json_records(file: DataFile, needs: str, bad: BadRecords) -> Iterator[Fields]:
    """The records of a file in its order, whether it is an array or has one a line; blank lines are skipped.

    Args:
        file: The file.
        needs: Layout of the records, in words, for messages about those that do not have it.
        bad: Takes lines that are no objects.

    Raises:
        DataError: The file cannot be read, or is neither.
    """
    with opened(file) as stream:
        start = head_of(stream, file).removeprefix(BOM_UTF8).lstrip()
        if start.startswith(b"["):
            yield from _array(json_value(stream.read(), file.name), file.name, needs, bad)
        elif start.split(b"\n", 1)[0].rstrip() == b"{":
            raise DataError(
                f"{file.name}: one JSON object over several lines. Records are an array of objects, or one object a "
                "line."
            )
        else:
            yield from _lines(stream, file.name, needs, bad)


def json_value(raw: bytes, name: str) -> Any:
    """Return the one JSON value that a file holds.

    Raises:
        DataError: The file is not whole, no JSON or no UTF-8; the place in it is named.
    """
    try:
        text = decode(raw)
        return parse_json(text)
    except EncodingError as error:
        raise DataError(f"{name}: {error}") from None
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        whole = "The file is not whole" if error.pos >= len(text.rstrip()) else "The file is to be one JSON value"
        raise DataError(f"{name}: not JSON at {at} ({error.msg}). {whole}.") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or lists within lists beyond any sense.
        raise DataError(f"{name}: cannot be read ({error}).") from None


def _array(records: list[Any], name: str, needs: str, bad: BadRecords) -> Iterator[Fields]:
    for number, record in enumerate(records, 1):
        bad.read += 1
        with bad.aside():
            yield Fields.of(record, f"{name}, record {number}", needs)


def _lines(stream: io.BufferedReader, name: str, needs: str, bad: BadRecords) -> Iterator[Fields]:
    for number, line in enumerate(stream, 1):
        # Files with marks that were put together have marks within.
        if line := line.removeprefix(BOM_UTF8).strip():
            bad.read += 1
            with bad.aside():
                yield _fields(line, f"{name}, line {number}", needs)


def _fields(line: bytes, place: str, needs: str) -> Fields:
    try:
        value = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        complaint, reason = f"byte {error.start} is not UTF-8. Save the file as UTF-8.", "is not UTF-8"
    except json.JSONDecodeError as error:
        complaint, reason = f"not JSON at column {error.colno} ({error.msg}). {needs}", "is not JSON"
    except (ValueError, RecursionError) as error:
        complaint, reason = f"cannot be read ({error}). {needs}", "is JSON that cannot be read"
    else:
        return Fields.of(value, place, needs)
    raise RecordError(f"{place}: {complaint}", place, reason)
