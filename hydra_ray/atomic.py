"""Writes files as a whole or not at all: a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file's path beside `path`; what was written there takes its place when the block ends.

    Where the block raises, `path` stays as it was and the temporary file is removed. Folders that are missing are made.

    Args:
        path: The file to write. Several processes may write it at once: the last one counts.

    Raises:
        OSError: The folder cannot be made, or the file cannot be put in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since only within one file system a file is replaced in one step. A name of its own for each
    # writer, on whatever machine; not `tempfile`'s, whose files nobody but their owner may read.
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as a whole or not at all, as `replacing` does."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
