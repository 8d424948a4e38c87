"""Opens data files: unpacks them as they are read, and says in one line what is wrong with one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow as pa

from hydra_ray.data.errors import DataError
from hydra_ray.data.sources.files import DataFile, one_line
from hydra_ray.utf8 import EncodingError, check_utf8

# By what a file's name ends in, and by what it begins with.
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\x04\x22\x4d\x18": "lz4"}
_PARQUET = b"PAR1"
_ARCHIVES = {b"PK\x03\x04": "a zip archive or a spreadsheet", b"\xd0\xcf\x11\xe0": "an old Office file"}
_HEAD = 1024


@contextmanager
def opened(file: DataFile) -> Iterator[io.BufferedReader]:
    """The bytes of a file, unpacked where they are compressed.

    Raises:
        DataError: The file cannot be read, is not whole, or is an archive of files. Errors of reading that come late
            are told as well, as long as they happen in the `with` block.
    """
    codec = _codec(file)
    try:
        with file.filesystem.open_input_stream(file.path, compression=codec) as stream:
            yield io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20)
    except FileNotFoundError:
        raise DataError(f"{file.name}: no such file.") from None
    except (pa.ArrowException, OSError) as error:
        if codec is not None:
            raise DataError(f"{file.name}: not a whole {codec} file ({one_line(error)}). Download it again.") from None
        raise DataError(f"{file.name}: the file cannot be read ({one_line(error)}).") from None


def head_of(stream: io.BufferedReader, file: DataFile) -> bytes:
    """The first bytes of a text file, which stay to be read.

    Raises:
        DataError: The text is of UTF-16, or it is no text but Parquet or packed once more.
    """
    head = stream.peek(_HEAD)[:_HEAD]
    if head.startswith(_PARQUET):
        raise DataError(f"{file.name}: the file is Parquet. Mend the ending of its name.")
    if codec := next((codec for magic, codec in _MAGIC.items() if head.startswith(magic)), None):
        raise DataError(f"{file.name}: what is in it is {codec} once more. Unpack it once.")
    try:
        check_utf8(head)
    except EncodingError as error:
        raise DataError(f"{file.name}: {error}") from None
    return head


def _codec(file: DataFile) -> str | None:
    head = _first_bytes(file)
    for magic, kind in _ARCHIVES.items():
        if head.startswith(magic):
            raise DataError(f"{file.name}: {kind}. Unpack it, or save it as CSV.")
    told = next((codec for ending, codec in COMPRESSED.items() if file.path.lower().endswith(ending)), None)
    found = next((codec for magic, codec in _MAGIC.items() if head.startswith(magic)), None)
    if told is not None and found != told:
        raise DataError(
            f"{file.name}: not a whole {told} file (it does not begin as one). Download it again, or take the ending "
            "off its name if it is not compressed."
        )
    return found


def _first_bytes(file: DataFile) -> bytes:
    """The first bytes of a file as it is stored."""
    try:
        with file.filesystem.open_input_stream(file.path, compression=None) as stream:
            return bytes(cast(BinaryIO, stream).read(8))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file.name}: the file cannot be read ({one_line(error)}).") from None
