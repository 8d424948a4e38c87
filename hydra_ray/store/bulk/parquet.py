"""Tables of the store as Parquet: a folder with a file a table and a manifest, read and written piece by piece."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Table

from hydra_ray.records import HydraError
from hydra_ray.store.bulk.rows import Row, in_batches
from hydra_ray.store.tables import ITEM_ENCODINGS

FORMAT = "hydra-ray/store/v1"
_MANIFEST = "manifest.json"
_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime: pa.timestamp("us", "UTC"),
}


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which gets its name once the block ends: it is there as a whole or not at all.

    Raises:
        HydraError: There is something of that name.
    """
    if folder.exists():
        raise HydraError(f"{folder}: is there already; choose another name, or remove it first")
    partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        os.rename(partial, folder)
    except OSError as error:
        raise HydraError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_tables(folder: Path, rows: Iterable[tuple[Table, Iterator[Row]]], about: Mapping[str, Any]) -> dict[str, int]:
    """Write tables into a folder, and a manifest last; memory holds one piece of one table.

    Args:
        folder: Empty folder.
        rows: Tables with their rows.
        about: What the manifest says besides.

    Returns:
        Rows by table.
    """
    counts = {}
    for table, of_table in rows:
        counts[table.name] = _write(folder / f"{table.name}.parquet", table, of_table)
    manifest = {"format": FORMAT, **about, "rows": counts}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return counts


class ParquetTables:
    """Tables that `write_tables` wrote.

    Args:
        folder: The folder.
        tables: All tables that are known; one that the folder lacks is taken for empty.

    Attributes:
        counts: Rows by table, as the manifest tells them; encodings of items are not read.
        about: All of the manifest.

    Raises:
        HydraError: It is no such folder, or of a version whose tables differ.
    """

    def __init__(self, folder: Path, tables: Sequence[Table]) -> None:
        self._folder, self._tables = folder, {table.name: table for table in tables}
        try:
            self.about: dict[str, Any] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            self.counts = {str(name): int(count) for name, count in self.about["rows"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise HydraError(f"{folder}: {_MANIFEST} is missing or damaged: {error}") from None
        if self.about.get("format") != FORMAT:
            raise HydraError(f"{folder}: format {self.about.get('format')!r} is not known; this version reads {FORMAT}")
        if unknown := sorted(set(self.counts) - set(self._tables)):
            raise HydraError(
                f"{folder}: table {unknown[0]!r} is not known here: read it with the version that wrote it"
            )
        # Made anew: they were kept under another key before, and cost nothing but time.
        self.counts.pop(ITEM_ENCODINGS.name, None)
        for name in self.counts:
            self._check_columns(self._tables[name])

    def rows(self, table: Table) -> Generator[Row, None, None]:
        """Yield a table's rows, in the order in which they were written.

        Raises:
            HydraError: The file is damaged.
        """
        if table.name not in self.counts:
            return
        path, seen = self._path(table), 0
        try:
            with pq.ParquetFile(path) as file:
                later = dict.fromkeys(set(table.c.keys()) - set(file.schema_arrow.names))
                for batch in file.iter_batches(batch_size=500):
                    yield from (row | later for row in batch.to_pylist())
                    seen += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise HydraError(f"{path}: damaged: {error}") from None
        if seen != self.counts[table.name]:
            raise HydraError(f"{path}: damaged: {seen} rows, the manifest says {self.counts[table.name]}")

    def _check_columns(self, table: Table) -> None:
        try:
            found = pq.read_schema(self._path(table)).names
        except (pa.ArrowException, OSError) as error:
            raise HydraError(f"{self._path(table)}: missing or damaged: {error}") from None
        # What an earlier version did not know yet has no value there.
        wanted = {one.name for one in table.columns if not one.nullable}
        if not wanted <= set(found) <= set(table.c.keys()):
            raise HydraError(
                f"{self._path(table)}: has columns {', '.join(found)}, this version {', '.join(table.c.keys())}: "
                "read it with the version that wrote it"
            )

    def _path(self, table: Table) -> Path:
        return self._folder / f"{table.name}.parquet"


def _write(path: Path, table: Table, rows: Iterator[Row]) -> int:
    fields = [pa.field(one.name, _TYPES[one.type.python_type], bool(one.nullable)) for one in table.columns]
    schema, count = pa.schema(fields), 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        # A group of rows a batch: whoever reads it holds no more.
        for batch in in_batches(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count
