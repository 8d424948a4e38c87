"""The file system of a registry: a folder of this machine, or a prefix of an object store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from hydra_ray.data.sources.files import locate, one_line
from hydra_ray.records import HydraError

_CHUNK = 1 << 20
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


class UnreachableError(HydraError):
    """The registry's file system does not answer, or refuses; later it may not."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on some file system.

    Attributes:
        filesystem: File system.
        path: Path of the folder there.
        shown: What messages call it.
    """

    filesystem: fs.FileSystem
    path: str
    shown: str

    @classmethod
    def of(cls, url: str) -> Place:
        """Find the place of a path or a URI; credentials and other servers come from the environment.

        Raises:
            HydraError: There is no file system for such a URI.
        """
        # Parameters of a URI may hold keys.
        shown = _LOGIN.sub("***@", url.partition("?")[0])
        try:
            filesystem, path = locate(url)
        except HydraError:
            # The cause would quote the URI, with what login it may hold.
            raise HydraError(
                f"registry.url: {shown}: no place that can be read. Name a folder of this machine, or a URI of a file "
                "system such as s3://."
            ) from None
        if isinstance(filesystem, fs.LocalFileSystem):
            path = str(Path(path).absolute())
        return cls(filesystem, path, shown)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine, where renaming is one step."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def names(self) -> list[str]:
        """Return the names of the folders in it, in order; none where it is not there yet."""
        with self._one_line("cannot be listed"):
            found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)

    def files(self, folder: str) -> list[str]:
        """Return the paths of all files below a folder, from the folder on."""
        root = f"{self.path}/{folder}"
        with self._one_line("cannot be listed"):
            found = self.filesystem.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
        return sorted(info.path.removeprefix(f"{root}/") for info in found if info.type == fs.FileType.File)

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None where there is none."""
        with self._one_line("cannot be read"):
            try:
                with self.filesystem.open_input_stream(f"{self.path}/{path}", compression=None) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def write(self, path: str, content: bytes) -> None:
        """Write a small file."""
        with (
            self._one_line("cannot be written"),
            self.filesystem.open_output_stream(f"{self.path}/{path}", compression=None) as out,
        ):
            out.write(content)

    def put(self, source: Path, path: str) -> None:
        """Copy a file of this machine there."""
        with (
            self._one_line("cannot be written"),
            source.open("rb") as stream,
            self.filesystem.open_output_stream(f"{self.path}/{path}", compression=None) as out,
        ):
            while chunk := stream.read(_CHUNK):
                out.write(chunk)

    def get(self, path: str, target: Path) -> None:
        """Copy a file from there to this machine."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._one_line("cannot be read"),
            self.filesystem.open_input_stream(f"{self.path}/{path}", compression=None) as stream,
            target.open("wb") as out,
        ):
            while chunk := stream.read(_CHUNK):
                out.write(chunk)

    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""
        with self._one_line("cannot be deleted"):
            if self.filesystem.get_file_info(f"{self.path}/{path}").type == fs.FileType.File:
                self.filesystem.delete_file(f"{self.path}/{path}")

    def delete_folder(self, folder: str) -> None:
        """Delete a folder with all that is in it, if it is there."""
        with self._one_line("cannot be deleted"):
            if self.filesystem.get_file_info(f"{self.path}/{folder}").type == fs.FileType.Directory:
                self.filesystem.delete_dir(f"{self.path}/{folder}")

    @contextmanager
    def _one_line(self, what: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise UnreachableError(f"registry.url: {self.shown} {what}: {one_line(error)}") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
