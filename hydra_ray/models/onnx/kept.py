"""ONNX models in a folder of the machine, so that its processes do not write one each."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path

from hydra_ray.atomic import replacing

log = logging.getLogger(__name__)

# Models of an encoder that is trained come with each version of a base: the default encoder's takes 90 MB.
_MOST = 8


def find(folder: Path, key: str) -> Path | None:
    """Return the file of a model; None where there is none that is as it was written.

    Args:
        folder: Folder of models.
        key: What the model was written from and by, as a digest.
    """
    for file in sorted(folder.glob(f"{key}.*.onnx")):
        try:
            with file.open("rb") as content:
                whole = hashlib.file_digest(content, "sha256").hexdigest() == file.name.split(".")[1]
        except OSError as error:
            log.warning("%s cannot be read, and is written again: %s", file, error)
            continue
        if whole:
            # What is not used for long goes first. A folder that only others may write is as good.
            with contextlib.suppress(OSError):
                os.utime(file)
            return file
        log.warning("%s is damaged, and is written again", file)
    return None


def keep(folder: Path, key: str, model: bytes) -> Path | None:
    """Keep a model for all processes of the machine, and as many of the others as there is room for.

    Args:
        folder: Folder of models.
        key: What the model was written from and by, as a digest.
        model: The model.

    Returns:
        Its file; None where it cannot be written, which the log says.
    """
    # Its own digest is part of its name: one file tells whether it is whole.
    file = folder / f"{key}.{hashlib.sha256(model).hexdigest()}.onnx"
    try:
        with replacing(file) as partial:
            partial.write_bytes(model)
        _make_room(folder)
    except OSError as error:
        log.warning("an encoder for ONNX Runtime cannot be kept, so each process writes its own: %s", error)
        return None
    return file


def _make_room(folder: Path) -> None:
    # Files that a killed process left behind are among them.
    dated = sorted(((file.stat().st_mtime, file) for file in folder.glob("*.onnx*")), reverse=True)
    for _, file in dated[_MOST:]:
        file.unlink(missing_ok=True)
