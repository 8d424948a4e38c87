"""Looks for users' texts in files, whatever form they are in: Parquet and compressed files decoded, databases raw."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.rights.erasure.telltale import PIECE, Telltale

_BLOCK = 1 << 22
# A piece that is cut by the end of a block stands whole in the next look: twelve bytes a sign are the longest JSON.
_OVERLAP = 12 * PIECE
_COMPRESSED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BREAKS = re.compile(rb"(?:\\[nrt]|\s)+")
_SQLITE = b"SQLite format 3\0"


def files_below(places: Iterable[Path]) -> list[Path]:
    """Return all files at and below some places, each once, in order; links to folders are not followed."""
    found = dict[Path, None]()
    for place in places:
        if place.is_file():
            found[place.resolve()] = None
        for folder, _, names in os.walk(place.resolve()):
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file():
                    found[path.resolve()] = None
    return sorted(found)


def kind_of(path: Path) -> str:
    """Return what a file is by its first bytes: parquet, sqlite, compressed or other; gone if it is there no more."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except FileNotFoundError:
        # Databases take away what stands beside them, and others write meanwhile.
        return "gone"
    if start[:4] == b"PAR1":
        return "parquet"
    if start == _SQLITE:
        return "sqlite"
    return "compressed" if any(start.startswith(magic) for magic in _COMPRESSED) else "other"


def holds(path: Path, telltale: Telltale) -> bool:
    """Return whether a file holds one of the pieces.

    Parquet is decoded, values in its metadata included, and so is what gzip, bzip2 and xz have compressed. Of a SQLite
    database both are looked at: its rows, since long texts lie in pieces, and its raw bytes, where what was deleted may
    stand still.
    """
    kind = kind_of(path)
    if kind == "gone":
        return False
    if kind == "parquet":
        return _parquet_holds(path, telltale)
    if kind == "compressed":
        return _compressed_holds(path, telltale)
    if kind == "sqlite" and _rows_hold(path, telltale):
        return True
    with path.open("rb") as file:
        return _stream_holds(file, telltale)


def _stream_holds(file: IO[bytes], telltale: Telltale) -> bool:
    tail = b""
    while block := file.read(_BLOCK):
        content = tail + block
        # The pieces have single spaces; texts, and JSON of them, may break lines.
        if telltale.in_bytes(content) or telltale.in_bytes(_BREAKS.sub(b" ", content)):
            return True
        tail = block[-_OVERLAP:]
    return False


def _compressed_holds(path: Path, telltale: Telltale) -> bool:
    with path.open("rb") as file:
        start = file.read(6)
    opened = next(opener for magic, opener in _COMPRESSED.items() if start.startswith(magic))
    try:
        with opened(path, "rb") as file:
            return _stream_holds(file, telltale)
    except (OSError, EOFError, lzma.LZMAError):
        # It only looks like one.
        with path.open("rb") as file:
            return _stream_holds(file, telltale)


def _parquet_holds(path: Path, telltale: Telltale) -> bool:
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
            if any(map(telltale.in_bytes, metadata.values())):
                return True
            return any(telltale.in_value(_texts(batch)) for batch in file.iter_batches(batch_size=256))
    except (pa.ArrowException, OSError):
        # A file that is cut off.
        with path.open("rb") as raw:
            return _stream_holds(raw, telltale)


def _texts(batch: pa.RecordBatch) -> list[Any]:
    """Return the values of a batch, bytes as the text that they may be."""
    return [
        [one.decode(errors="replace") if isinstance(one, bytes) else one for one in column.to_pylist()]
        for column in batch.columns
    ]


def _rows_hold(path: Path, telltale: Telltale) -> bool:
    try:
        with closing(_reading(path)) as db:
            return any(telltale.in_value(row) for table in tables_of(db) for row in _rows(db, table))
    except sqlite3.Error:
        return False


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)


def tables_of(db: sqlite3.Connection) -> list[str]:
    """Return the names of a SQLite database's tables."""
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]


def _rows(db: sqlite3.Connection, table: str) -> Iterator[list[Any]]:
    for row in db.execute(f'SELECT * FROM "{table}"'):
        yield [one.decode(errors="replace") if isinstance(one, bytes) else one for one in row]
