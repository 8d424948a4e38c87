"""Finds the objects of files and folders, and which of them are applied together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, mapping
from hydra_ray.k8s.check.reading.plain import PlainError, as_plain
from hydra_ray.records import HydraError
from hydra_ray.settings.files.yaml_file import YAMLFileError, parse_documents
from hydra_ray.utf8 import EncodingError, decode

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_ENDINGS = (".yaml", ".yml", ".json")
# What a kustomization may say here; all else changes objects in ways that only kustomize knows.
_APPLIED = {"apiVersion", "kind", "metadata", "resources"}


@dataclass(slots=True)
class Together:
    """Objects that are applied together, so that what they say of each other can be checked.

    Attributes:
        things: The objects.
        problems: What kept others from being read.
    """

    things: list[Thing] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read(paths: Sequence[Path]) -> list[Together]:
    """Read manifests.

    A folder with a kustomization is one set of objects, with all that it names; any other folder is one of its own
    files, and each folder in it another. Files that are named themselves are one set together.

    Raises:
        HydraError: There is no such file or folder, or nothing to check in it.
    """
    sets: list[Together] = []
    loose = Together()
    for path in paths:
        if path.is_dir():
            found = list(_folders(path))
            if not found:
                raise HydraError(f"{path}: there is no manifest ({', '.join(_ENDINGS)}) in this folder")
            sets += found
        elif path.exists():
            _file(path, loose)
        else:
            raise HydraError(f"{path}: there is no such file or folder")
    return ([loose] if loose.things or loose.problems else []) + sets


def _folders(folder: Path) -> Iterator[Together]:
    files = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS or path.name in KUSTOMIZATIONS)
    together = Together()
    if any(path.name in KUSTOMIZATIONS for path in files):
        _kustomization(folder, together, ())
    else:
        for path in files:
            _file(path, together)
    if together.things or together.problems:
        yield together
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield from _folders(inner)


def _file(path: Path, together: Together) -> None:
    try:
        documents = parse_documents(decode(path.read_bytes()))
    except OSError as error:
        together.problems.append(Problem(str(path), "", "", f"it cannot be read: {error.strerror}"))
    except (YAMLFileError, EncodingError) as error:
        together.problems.append(Problem(str(path), "", "", str(error)))
    else:
        for place, document in enumerate(documents, 1):
            if document is not None:
                _document(str(path), place, document, together)


def _document(file: str, place: int, document: Any, together: Together) -> None:
    here = f"document {place}"
    try:
        tree = as_plain(document)
    except PlainError as error:
        named = mapping(document) if isinstance(document, dict) else {}
        where = f"{named['kind']}" if isinstance(named.get("kind"), str) else here
        together.problems.append(Problem(file, where, error.path, str(error)))
        return
    if not isinstance(tree, dict):
        together.problems.append(Problem(file, here, "", f"an object is a mapping, not a {type(tree).__name__}"))
    elif tree.get("apiVersion") == "v1" and tree.get("kind") == "List" and isinstance(tree.get("items"), list):
        for item in tree["items"]:
            _document(file, place, item, together)
    else:
        together.things.append(Thing(file, tree))


def _kustomization(folder: Path, together: Together, above: tuple[Path, ...]) -> None:
    file = next(folder / name for name in KUSTOMIZATIONS if (folder / name).exists())
    if folder.resolve() in above:
        together.problems.append(Problem(str(file), "", "resources", "it names a folder that names it in turn"))
        return
    read_here = Together()
    _file(file, read_here)
    together.problems += read_here.problems
    for thing in read_here.things:
        for key in sorted(thing.tree.keys() - _APPLIED):
            text = f"kustomize's {key} is not applied here: check what `kubectl kustomize {folder}` writes"
            together.problems.append(Problem(str(file), "", key, text))
        resources = thing.tree.get("resources", [])
        for place, name in enumerate(resources if isinstance(resources, list) else [resources]):
            _resource(folder, file, f"resources[{place}]", name, together, (*above, folder.resolve()))


def _resource(folder: Path, file: Path, at: str, name: Any, together: Together, above: tuple[Path, ...]) -> None:
    if not isinstance(name, str) or "\0" in name:
        together.problems.append(Problem(str(file), "", at, "a resource is the name of a file or folder"))
        return
    path = Path(os.path.normpath(folder / name))
    if "://" in name or name.startswith("git@"):
        together.problems.append(Problem(str(file), "", at, f"{name} is elsewhere, and nothing is fetched here"))
    elif path.is_dir():
        if any((path / one).exists() for one in KUSTOMIZATIONS):
            _kustomization(path, together, above)
        else:
            together.problems.append(Problem(str(file), "", at, f"the folder {name} has no kustomization.yaml"))
    elif path.exists():
        _file(path, together)
    else:
        together.problems.append(Problem(str(file), "", at, f"there is no {name}"))
