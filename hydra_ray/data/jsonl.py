"""Reads JSON Lines, plain or gzipped: one object a line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from hydra_ray.data.errors import DataError, Fields


def read_jsonl(path: Path, needs: str) -> Iterator[Fields]:
    """The records of a file, in its order; blank lines are skipped.

    Args:
        path: Its name ends in .gz where it is gzipped.
        needs: What the records look like, for messages about those that do not.

    Raises:
        DataError: The file cannot be read, or names the line (counted from 1) that is no object.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _fields(line, f"{path.name}, line {number}", needs)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path.name}: not a whole gzip file ({error}). Download it again.") from None
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read: {error.strerror}.") from None


def _fields(line: bytes, place: str, needs: str) -> Fields:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON at column {error.colno} ({error.msg}). {needs}") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or lists within lists beyond any sense.
        raise DataError(f"{place}: cannot be read ({error}). {needs}") from None
    return Fields.of(value, place, needs)
