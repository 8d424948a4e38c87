"""Finds the files of one LaMP task, whatever the folder is called and however they are compressed."""

from __future__ import annotations

from dataclasses import dataclass
from os import fspath
from pathlib import Path
from typing import Any

from pyarrow import fs

from hydra_ray.data.sources.files import DataFile, exists, locate
from hydra_ray.data.sources.json_records import json_value
from hydra_ray.data.sources.streams import COMPRESSED, opened
from hydra_ray.tasks import Task

# LaMP calls both its news and its movies so.
OWN_NAMES = {"LaMP_2N": "LaMP_2", "LaMP_2M": "LaMP_2"}


@dataclass(frozen=True, slots=True)
class LampFolder:
    """Folder of the files of one task."""

    filesystem: fs.FileSystem
    path: str
    shown: str

    def __str__(self) -> str:
        return self.shown

    @classmethod
    def of(cls, directory: Path | str, task: Task) -> LampFolder:
        """The folder that is named after the task, if there is one in the directory, else the directory."""
        filesystem, path = locate(directory)
        shown = fspath(directory).rstrip("/")
        for name in (task.name, OWN_NAMES.get(task.name, task.name)):
            if exists(filesystem, f"{path}/{name}"):
                return cls(filesystem, f"{path}/{name}", f"{shown}/{name}")
        return cls(filesystem, path, shown)

    def find(self, name: str) -> DataFile | None:
        """A file by its name, or that with the ending of a compression; None where there is neither."""
        for ending in ("", *COMPRESSED):
            if exists(self.filesystem, path := f"{self.path}/{name}{ending}"):
                return DataFile(self.filesystem, path, f"{name}{ending}", {})
        return None


def read_json(file: DataFile) -> Any:
    """The one JSON value of a file.

    Raises:
        DataError: The file cannot be read, or is no JSON.
    """
    with opened(file) as stream:
        return json_value(stream.read(), file.name)
