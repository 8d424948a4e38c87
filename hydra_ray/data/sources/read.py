"""One way in for all data formats: from what a setting names to records with their places."""

from __future__ import annotations

import logging
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from hydra_ray.data.bad_records import BadRecords
from hydra_ray.data.errors import DataError
from hydra_ray.data.fields import Fields, Layout
from hydra_ray.data.sources.csv_records import read_csv_records
from hydra_ray.data.sources.files import DataFile, find_files
from hydra_ray.data.sources.json_records import read_json_records
from hydra_ray.data.sources.parquet_records import read_parquet_records
from hydra_ray.data.sources.streams import COMPRESSED, opened

log = logging.getLogger(__name__)

# Arrays and lines are told apart by what a file begins with.
_JSON = (".jsonl", ".ndjson", ".json")
_CSV = (".csv", ".tsv", ".tab")
_PARQUET = (".parquet", ".parq", ".pq")
_KNOWN = "JSON Lines (.jsonl, .ndjson), JSON arrays (.json), CSV (.csv, .tsv) and Parquet (.parquet)"


def read_source(place: str | Path, setting: str, layout: Layout, bad: BadRecords) -> Iterator[Fields]:
    """The records of all files of a place, file by file in the order of their names.

    Args:
        place: A file, a folder, a glob, or a URI of one, each file plain or compressed.
        setting: Setting that named the place, for messages.
        layout: Layout of the records.
        bad: Takes records that cannot be read, and counts all.

    Raises:
        DataError: A file cannot be read, is damaged or of no known format; what comes before it is yielded first.
    """
    files = find_files(place, setting)
    alone = len(files) == 1
    formats = [(file, _format(file, alone)) for file in files]
    for file, kind in formats:
        if kind is None:
            log.warning("%s: not read: records are %s.", file.name, _KNOWN)
            bad.left_out.note("files that are no records", file.name)
    if not any(kind for _, kind in formats):
        raise DataError(f"{place}: no file in it is of records, which are {_KNOWN}.")
    for file, kind in formats:
        if kind is not None:
            yield from _records(file, kind, layout, bad)


def _records(file: DataFile, kind: str, layout: Layout, bad: BadRecords) -> Iterator[Fields]:
    if kind == "json":
        records = read_json_records(file, layout.needs, bad)
    elif kind == "csv":
        records = read_csv_records(file, layout, bad)
    else:
        records = read_parquet_records(file, layout, bad)
    if not file.partition:
        return records
    return (replace(fields, values={**file.partition, **fields.values}) for fields in records)


def _format(file: DataFile, alone: bool) -> str | None:
    """json, csv or parquet; None for a file that stands among others and is of another kind.

    Raises:
        DataError: The only file is of another kind.
    """
    name = PurePosixPath(file.path.lower())
    ending = (name.with_suffix("") if name.suffix in COMPRESSED else name).suffix
    for kind, endings in (("json", _JSON), ("csv", _CSV), ("parquet", _PARQUET)):
        if ending in endings:
            return kind
    found = _by_content(file)
    if found is not None or not alone:
        return found
    raise DataError(f"{file.name}: of no known format: records are {_KNOWN}. Convert the file, or mend its name.")


def _by_content(file: DataFile) -> str | None:
    """Return the kind of a file without a telling name, where its beginning leaves no doubt; else None."""
    with opened(file) as stream:
        start = stream.peek(64).removeprefix(BOM_UTF8).lstrip()
    if start.startswith(b"PAR1"):
        return "parquet"
    return "json" if start.startswith((b"{", b"[")) else None
