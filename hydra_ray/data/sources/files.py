"""Finds the files that a setting names: one file, a folder, a glob, on this machine or by a URI."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from os import fspath
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from hydra_ray.data.errors import DataError

_URI = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# What begins so is no data: what programs leave for themselves.
_HIDDEN = (".", "_")
_MAGIC = re.compile(r"[*?[]")
# Where Hive and Spark keep rows whose partition has no value.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a data set.

    Attributes:
        filesystem: Where it is.
        path: The file's path in that file system.
        name: What messages call it: its name, or its path below the folder that was given.
        partition: Fields that its folders say of all its records (`user_id=ann/part-0.parquet`).
    """

    filesystem: fs.FileSystem
    path: str
    name: str
    partition: Mapping[str, str | None]


def locate(place: str | Path) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI (s3://, gs://, abfs://, hdfs://, file://), and the path in it.

    Raises:
        DataError: There is no file system for such a URI.
    """
    text = fspath(place)
    if not _URI.match(text):
        return fs.LocalFileSystem(), text.rstrip("/") or text
    parts = urlsplit(text)
    query = f"?{parts.query}" if parts.query else ""
    try:
        # The path is joined afterwards: keys may hold what URIs may not, and globs do.
        filesystem, root = fs.FileSystem.from_uri(
            f"{parts.scheme}://{parts.netloc}{'' if parts.netloc else '/'}{query}"
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{text}: no place that can be read ({one_line(error)}). Name a path on this machine, or a URI of a file "
            "system such as s3://."
        ) from None
    return filesystem, f"{root.rstrip('/')}/{unquote(parts.path).strip('/')}".rstrip("/")


def find_files(place: str | Path, setting: str) -> list[DataFile]:
    """All data files of a place, in the order of their names.

    Hidden files and those whose names begin with an underscore (`_SUCCESS`) are left out, unless they are named.

    Args:
        place: A file, a folder, or either with `*`, `?`, `[...]` and `**` in it.
        setting: What named it, for messages.

    Raises:
        DataError: There is no such file or folder, it cannot be listed, or the folder has no file.
    """
    filesystem, path = locate(place)
    shown = fspath(place)
    try:
        base, found = _matching(filesystem, path)
        files = [file for one in found for file in _below(filesystem, one)]
    except (pa.ArrowException, OSError, UnicodeEncodeError) as error:
        raise DataError(f"{shown}: cannot be looked up ({one_line(error)}).") from None
    if not found:
        raise DataError(f"{shown}: no such file. Point {setting} at a file, a folder of files or a glob.")
    if not files:
        raise DataError(f"{shown}: the folder has no file in it. Point {setting} at the files of records.")
    # The same file can match twice, by itself and in a folder.
    return [
        DataFile(filesystem, file, _name(file, base), _partition(file))
        for file in sorted(dict.fromkeys(files), key=lambda file: file.split("/"))
    ]


def exists(filesystem: fs.FileSystem, path: str) -> bool:
    """Whether there is a file or folder.

    Raises:
        DataError: It cannot be said.
    """
    try:
        return filesystem.get_file_info(path).type != fs.FileType.NotFound
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be looked up ({one_line(error)}).") from None


def one_line(error: BaseException) -> str:
    """What a library said, on one line and of bounded length."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
    return text if len(text) <= 300 else f"{text[:300]}..."


def _matching(filesystem: fs.FileSystem, path: str) -> tuple[str, list[fs.FileInfo]]:
    """What is there, and the folder that messages leave out of its names."""
    info = filesystem.get_file_info(path)
    if info.type != fs.FileType.NotFound or not _MAGIC.search(path):
        base = "" if path == "." else path.rpartition("/")[0]
        return base, [info] if info.type != fs.FileType.NotFound else []
    parts = path.split("/")
    first = next(number for number, part in enumerate(parts) if _MAGIC.search(part))
    base = "/".join(parts[:first])
    return base, list(_expand(filesystem, base or ("/" if path.startswith("/") else "."), parts[first:]))


def _expand(filesystem: fs.FileSystem, folder: str, parts: list[str]) -> Iterator[fs.FileInfo]:
    head, *rest = parts
    below = _listed(filesystem, folder, recursive=head == "**")
    if head == "**":
        seen = [one for one in below if not _hidden(one.path, folder)]
        folders = [folder, *(one.path for one in seen if one.type == fs.FileType.Directory)]
        if not rest:
            yield from (one for one in seen if one.type != fs.FileType.Directory)
        for one in folders if rest else ():
            yield from _expand(filesystem, one, rest)
        return
    for one in below:
        first = one.base_name[:1]
        if not fnmatchcase(one.base_name, head) or (first in _HIDDEN and first != head[0]):
            continue
        if not rest:
            yield one
        elif not one.is_file:
            yield from _expand(filesystem, one.path, rest)


def _below(filesystem: fs.FileSystem, info: fs.FileInfo) -> list[str]:
    inside = [info]
    if info.type == fs.FileType.Directory:
        inside = [one for one in _listed(filesystem, info.path, recursive=True) if not _hidden(one.path, info.path)]
    for one in inside:
        if one.type == fs.FileType.NotFound:
            raise DataError(f"{one.path}: a link to a file that is not there. Mend the link, or take it away.")
    return [one.path for one in inside if one.is_file]


def _listed(filesystem: fs.FileSystem, folder: str, recursive: bool) -> list[fs.FileInfo]:
    """What is in a folder, with the links to nothing, which pyarrow leaves out."""
    found: list[fs.FileInfo] = filesystem.get_file_info(
        fs.FileSelector(folder, recursive=recursive, allow_not_found=True)
    )
    if not isinstance(filesystem, fs.LocalFileSystem):
        return found
    paths = [Path(at, name) for at, _, names in islice(os.walk(folder), None if recursive else 1) for name in names]
    lost = [path for path in paths if path.is_symlink() and not path.exists()]
    return found + [fs.FileInfo(str(path), fs.FileType.NotFound) for path in lost]


def _hidden(path: str, folder: str) -> bool:
    """Whether a file's name or a folder of it below the given one begins with a dot or an underscore."""
    below = path if folder == "." else path.removeprefix(folder)
    return any(part.startswith(_HIDDEN) for part in below.removeprefix("./").split("/"))


def _name(path: str, base: str) -> str:
    return path.removeprefix("./").removeprefix(f"{base}/" if base else "")


def _partition(path: str) -> dict[str, str | None]:
    """What folders named `field=value` say, as Hive, Spark and pyarrow write them."""
    pairs = (part.split("=", 1) for part in path.split("/")[:-1] if "=" in part)
    return {name: None if value == _NO_VALUE else unquote(value) for name, value in pairs if name}
