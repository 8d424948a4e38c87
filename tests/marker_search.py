"""Looks for a word in all files below a folder, however packed; written apart from the product's own search."""

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq


def places_of(word: str, folder: Path) -> list[str]:
    """Files below the folder that hold the word: Parquet and gzip decoded, all else as raw bytes, WAL included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and _holds(path, word))


def tables_of(word: str, database: Path) -> list[str]:
    """Tables of a SQLite database that hold the word in any column of any row."""
    with closing(sqlite3.connect(database)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return sorted(name for name in names if any(word in repr(row) for row in db.execute(f'SELECT * FROM "{name}"')))


def _holds(path: Path, word: str) -> bool:
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    if raw[:4] == b"PAR1":
        table = pq.read_table(path)
        return word in repr(table.to_pylist()) or word in repr(table.schema.metadata)
    return word.encode() in raw
