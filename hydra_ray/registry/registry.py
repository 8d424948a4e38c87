"""Publishes versions of the base, lists them, and brings them to this machine, checked."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra_ray.records import HydraError, UserKey
from hydra_ray.registry.manifest import MANIFEST, USERS, Manifest, PublishedFile, check_name, user_digest
from hydra_ray.registry.place import Place, sha256_of

log = logging.getLogger(__name__)

# Versions that are being written or deleted have names that no version can have.
_PARTIAL = "."
# What is left of a publication that was killed; nobody takes so long.
_LEFT_BEHIND_S = 24 * 3600


class NoVersionError(HydraError):
    """There is no such version in the registry."""


class DamagedVersionError(HydraError):
    """A file of a version is missing, or is not the one that was published."""


class Registry:
    """Published versions of the base below one folder, `<version>/` each; a version is there once its manifest is.

    In a folder of this machine a version is written under another name and renamed. An object store cannot rename:
    there the manifest is written last, and what has none is no version. A published version never changes.

    Args:
        url: Folder, or URI of one on another file system, e.g. `s3://bucket/models`.
        cache: Folder of this machine for versions of a registry that is elsewhere.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._place, self._cache = Place.of(url), cache

    @property
    def shown(self) -> str:
        """What messages call the registry."""
        return self._place.shown

    def versions(self) -> list[Manifest]:
        """Return the manifests of all versions, oldest first; those that cannot be read are named in the log."""
        found = []
        for name in self._place.names():
            if not name.startswith(_PARTIAL):
                try:
                    found.append(self.manifest(name))
                except NoVersionError:
                    continue
                except HydraError as error:
                    log.warning("%s", error)
        return sorted(found, key=lambda manifest: (manifest.created, manifest.version))

    def is_empty(self) -> bool:
        """Return whether nothing was ever published here."""
        return not any(not name.startswith(_PARTIAL) for name in self._place.names())

    def manifest(self, version: str) -> Manifest:
        """Return a version's manifest.

        Raises:
            NoVersionError: There is no such version.
            HydraError: Its manifest is damaged.
        """
        content = self._place.read(f"{check_name(version)}/{MANIFEST}")
        if content is None:
            raise NoVersionError(f"registry.url: {self.shown} holds no version {version!r}")
        place = f"{self.shown}/{version}/{MANIFEST}"
        manifest = Manifest.from_json(content, place)
        if manifest.version != version:
            raise HydraError(f"{place} is damaged: it says that it is of version {manifest.version!r}")
        return manifest

    def has(self, version: str) -> bool:
        """Return whether there is such a version."""
        return self._place.read(f"{check_name(version)}/{MANIFEST}") is not None

    def publish(self, about: Manifest, write: Callable[[Path], None]) -> Manifest:
        """Publish a version: others see all of it or nothing.

        Args:
            about: Manifest of the version; its list of files is filled in here.
            write: Writes its files into a folder of this machine, which is empty.

        Returns:
            The manifest as published.

        Raises:
            HydraError: There is such a version already, or it cannot be written.
        """
        version = check_name(about.version)
        if self.has(version):
            raise self._exists(version)
        with self._staged(version) as folder:
            write(folder)
            files = {path: _published(folder / path) for path in _files(folder)}
            manifest = about.model_copy(update={"files": files})
            if not self._place.is_local:
                for path in files:
                    self._place.put(folder / path, f"{version}/{path}")
                self._place.write(f"{version}/{MANIFEST}", manifest.to_json().encode())
                return manifest
            (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
            _to_disk(folder)
            try:
                # Fails where there is a folder of that name with something in it.
                os.rename(folder, Path(self._place.path) / version)
            except OSError as error:
                raise (self._exists(version) if self.has(version) else error) from None
        return manifest

    def fetch(self, version: str) -> Path:
        """Return a folder of this machine with a version's files, each checked against its manifest.

        Versions of a registry elsewhere are kept in the cache, for all processes of the machine.

        Raises:
            NoVersionError: There is no such version.
            DamagedVersionError: A file is missing, or another one than was published.
        """
        manifest = self.manifest(version)
        if self._place.is_local:
            folder = Path(self._place.path) / version
            if fault := _fault(folder, manifest):
                raise DamagedVersionError(
                    f"version {version} is refused: {folder}/{fault}. Copy the version again, or take another one"
                )
            return folder
        target = self._cache / version
        with self._alone(version):
            fault = _fault(target, manifest) if target.exists() else "nothing is kept"
            if not fault:
                return target
            if target.exists():
                log.warning("%s/%s: the version is read from the registry again", target, fault)
                shutil.rmtree(target)
            partial = self._cache / f"{_PARTIAL}{version}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            for path in manifest.files:
                self._place.get(f"{version}/{path}", partial / path)
            if fault := _fault(partial, manifest):
                raise DamagedVersionError(
                    f"version {version} is refused: {self.shown}/{version}/{fault}. Copy the version again, or take "
                    "another one"
                )
            (partial / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
            os.rename(partial, target)
        return target

    def remove(self, version: str) -> None:
        """Delete a version's files, the manifest first: whoever is killed leaves no half of a version.

        Whether something points at it is not looked at: `Aliases.remove` does that.
        """
        check_name(version)
        if self._place.is_local:
            folder, gone = Path(self._place.path) / version, f"{_PARTIAL}{version}.{uuid.uuid4().hex}.deleted"
            if folder.exists():
                os.rename(folder, folder.with_name(gone))
            self._place.delete_folder(gone)
            return
        self._place.delete(f"{version}/{MANIFEST}")
        self._place.delete_folder(version)
        shutil.rmtree(self._cache / version, ignore_errors=True)

    def copy(self, version: str, target: Registry) -> None:
        """Publish a version in another registry, as it is.

        Raises:
            NoVersionError: There is no such version.
            DamagedVersionError: It is damaged here.
            HydraError: It is in the other registry already.
        """
        manifest, folder = self.manifest(version), self.fetch(version)

        def write(staged: Path) -> None:
            for path in manifest.files:
                (staged / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / path, staged / path)

        target.publish(manifest, write)

    def fitted_with(self, user: UserKey) -> dict[str, bool | None]:
        """Return by version whether it was fitted with a user's data; None where it is not known."""
        found: dict[str, bool | None] = {}
        for manifest in self.versions():
            listed = self._place.read(f"{manifest.version}/{USERS}") if USERS in manifest.files else None
            digest = user_digest(manifest.version, user)
            found[manifest.version] = None if listed is None else digest in listed.decode().split()
        return found

    @contextmanager
    def _staged(self, version: str) -> Iterator[Path]:
        """Give an empty folder: on a local registry's own file system, where it can be renamed into place."""
        if not self._place.is_local:
            with tempfile.TemporaryDirectory() as temporary:
                yield Path(temporary)
            return
        root = Path(self._place.path)
        try:
            root.mkdir(parents=True, exist_ok=True)
            _sweep(root)
            folder = root / f"{_PARTIAL}{version}.{uuid.uuid4().hex}.partial"
            folder.mkdir()
        except OSError as error:
            raise HydraError(f"registry.url: {self.shown} cannot be written: {error.strerror}") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _alone(self, version: str) -> Iterator[None]:
        """Hold a lock that the processes of this machine share, and that ends with its holder."""
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            lock = (self._cache / f"{_PARTIAL}{version}.lock").open("a")
        except OSError as error:
            raise HydraError(f"registry.cache: {self._cache} cannot be written: {error.strerror}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _exists(self, version: str) -> HydraError:
        return HydraError(f"registry.url: {self.shown} holds a version {version!r} already, and versions never change")


def _published(path: Path) -> PublishedFile:
    return PublishedFile(sha256=sha256_of(path), bytes=path.stat().st_size)


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _fault(folder: Path, manifest: Manifest) -> str:
    """Return the first file that is not as the manifest says, with what is wrong with it; "" where all are."""
    there = set(_files(folder)) - {MANIFEST}
    for path, published in manifest.files.items():
        if path not in there:
            return f"{path} is missing"
        if (folder / path).stat().st_size != published.bytes or sha256_of(folder / path) != published.sha256:
            return f"{path} is not the file that was published (SHA-256)"
    # What loads a model takes whatever file has a name that it knows.
    return next((f"{path} was not published with it" for path in sorted(there - set(manifest.files))), "")


def _to_disk(folder: Path) -> None:
    """Have all files and folders written before the rename is: after a power cut there is all or nothing."""
    for path in [*folder.rglob("*"), folder]:
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _sweep(root: Path) -> None:
    for path in (*root.glob(f"{_PARTIAL}*.partial"), *root.glob(f"{_PARTIAL}*.deleted")):
        # Another process may be sweeping, too.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFT_BEHIND_S:
                shutil.rmtree(path, ignore_errors=True)
