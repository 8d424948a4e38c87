"""Finds the objects of files and folders, and which of them are applied together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.json_file import JSONFileError, parse_json
from hydra_ray.k8s.check.reading.objects import Thing, items, mapping
from hydra_ray.k8s.check.reading.plain import PlainError, as_plain
from hydra_ray.records import HydraError
from hydra_ray.settings.files.yaml_file import YAMLFileError, parse_documents
from hydra_ray.utf8 import EncodingError, decode

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_ENDINGS = (".yaml", ".yml", ".json")
# A render that failed leaves an empty file, which must not pass as one without a problem.
_NOTHING = "there is no object in it: did what writes it fail?"
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

    A folder with a kustomization is one set of objects, with all that it names and all that lies in it and below; any
    other folder is one of its own files, and each folder in it another. Files that are named themselves are one set.

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
            for one in found:
                if not one.things and not one.problems:
                    one.problems.append(Problem(str(path), "", "", _NOTHING))
            sets += found
        elif path.exists():
            _file(path, loose)
        else:
            raise HydraError(f"{path}: there is no such file or folder")
    return ([loose] if loose.things or loose.problems else []) + sets


def _folders(folder: Path) -> Iterator[Together]:
    if _kustomization_of(folder) is not None:
        together = Together()
        _whole(folder, together, set())
        yield together
        return
    together = Together()
    for path in _files(folder):
        _file(path, together)
    if together.things or together.problems:
        yield together
    for inner in _inner(folder):
        yield from _folders(inner)


def _whole(folder: Path, together: Together, followed: set[Path]) -> None:
    """Reads a folder with all below it: what a kustomization names, and what lies beside that."""
    if folder.resolve() not in followed and _kustomization_of(folder) is not None:
        _kustomization(folder, together, (), followed)
    for path in _files(folder):
        if path.resolve() not in followed:
            _file(path, together)
    for inner in _inner(folder):
        _whole(inner, together, followed)


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.suffix in _ENDINGS and path.name not in KUSTOMIZATIONS)
    return sorted(found)


def _inner(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _kustomization_of(folder: Path) -> Path | None:
    return next((folder / name for name in KUSTOMIZATIONS if (folder / name).exists()), None)


def _file(path: Path, together: Together) -> None:
    before = len(together.things) + len(together.problems)
    try:
        content = decode(path.read_bytes())
        documents = parse_json(content) if path.suffix == ".json" else parse_documents(content)
    except OSError as error:
        together.problems.append(Problem(str(path), "", "", f"it cannot be read: {error.strerror}"))
    except (YAMLFileError, JSONFileError, EncodingError) as error:
        together.problems.append(Problem(str(path), "", "", str(error)))
    else:
        for place, document in enumerate(documents, 1):
            if document is not None:
                _document(str(path), place, document, together)
        if len(together.things) + len(together.problems) == before:
            together.problems.append(Problem(str(path), "", "", _NOTHING))


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


def _kustomization(folder: Path, together: Together, above: tuple[Path, ...], followed: set[Path]) -> None:
    file = _kustomization_of(folder)
    if file is None:
        return
    if folder.resolve() in above:
        together.problems.append(Problem(str(file), "", "resources", "it names a folder that names it in turn"))
        return
    if folder.resolve() in followed:
        return
    followed.add(folder.resolve())
    read_here = Together()
    _file(file, read_here)
    together.problems += read_here.problems
    for thing in read_here.things:
        for key in sorted(thing.tree.keys() - _APPLIED):
            text = f"kustomize's {key} is not applied here: check what `kubectl kustomize {folder}` writes"
            together.problems.append(Problem(str(file), "", key, text))
        for place, name in enumerate(items(thing.tree.get("resources"))):
            _resource(folder, file, f"resources[{place}]", name, together, (*above, folder.resolve()), followed)


def _resource(
    folder: Path, file: Path, at: str, name: Any, together: Together, above: tuple[Path, ...], followed: set[Path]
) -> None:
    def refuse(said: str) -> None:
        together.problems.append(Problem(str(file), "", at, said))

    if not isinstance(name, str) or not name or "\0" in name:
        refuse("a resource is the name of a file or folder")
        return
    path = Path(os.path.normpath(folder / name))
    if "://" in name or name.startswith("git@"):
        refuse(f"{name} is elsewhere, and nothing is fetched here")
    elif path.is_dir() and _kustomization_of(path) is None:
        refuse(f"the folder {name} has no kustomization.yaml")
    elif path.is_dir():
        _kustomization(path, together, above, followed)
    elif not path.exists():
        refuse(f"there is no {name}")
    elif path.resolve() not in followed:
        followed.add(path.resolve())
        _file(path, together)
