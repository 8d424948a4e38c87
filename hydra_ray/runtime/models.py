"""From settings to versions of the base: the registry, the aliases, and the version that a command works on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra_ray.models.base import Base, read_about, roles_of
from hydra_ray.records import HydraError, UserKey
from hydra_ray.registry import Manifest, Registry
from hydra_ray.registry.catalog import Catalog, nothing_in
from hydra_ray.registry.manifest import USERS, now, users_text, without_secrets
from hydra_ray.registry.probes import take_probes
from hydra_ray.settings import Settings
from hydra_ray.store.aliases import PRODUCTION, SqlAliases
from hydra_ray.store.backends import BACKENDS
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.schema import open_database
from hydra_ray.store.sql import SqlStore
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)

# Sections that say how a base came about; of the LLM only what it is.
_TRAINED_BY: Any = {
    "seed": True,
    "data": True,
    "base": True,
    "feedback": True,
    "method": True,
    "gate": True,
    "generator": {"backend", "model"},
}


@dataclass(frozen=True, slots=True)
class ChosenBase:
    """Version of the base that a command works on.

    Attributes:
        manifest: Manifest of the version.
        folder: Folder of this machine with its files, checked.
    """

    manifest: Manifest
    folder: Path

    @property
    def version(self) -> str:
        """Name of the version."""
        return self.manifest.version

    @property
    def task(self) -> Task:
        """Task that it was trained for."""
        return self.manifest.task


def used_roles(settings: Settings, manifest: Manifest) -> tuple[str, ...]:
    """Return the roles of a version that settings use.

    Raises:
        HydraError: They want a reranker, and it has none.
    """
    return roles_of(manifest.version, manifest.roles, rerank=settings.method.rerank)


@contextmanager
def catalog_of(settings: Settings) -> Iterator[Catalog]:
    """Open the catalog that settings name, for as long as the body runs.

    Raises:
        HydraError: There is no version yet, or the registry or the database cannot be opened.
    """
    # Before there is anything to open: a wrong folder is not to get a database.
    _check_not_empty(settings)
    catalog = open_catalog(settings)
    try:
        yield catalog
    finally:
        catalog.close()


def open_catalog(settings: Settings) -> Catalog:
    """Open the catalog that settings name.

    A base of the layout before there was a registry, `<model.dir>/base`, becomes a version of it.

    Raises:
        HydraError: The registry or the database cannot be opened.
    """
    registry = Registry(settings.registry_url, settings.registry_cache)
    # Where registry and store are elsewhere, this folder may be one that can only be read, or not be there. A database
    # that needs it says so itself.
    with suppress(OSError):
        settings.model_dir.mkdir(parents=True, exist_ok=True)
    catalog = Catalog(registry, SqlAliases(open_database(_database(settings))))
    _import_old_base(settings, catalog)
    return catalog


def chosen_base(settings: Settings) -> ChosenBase:
    """Return the version of the base that settings choose (`model.version`), with its files on this machine.

    Raises:
        HydraError: There is none, or it is damaged.
    """
    with catalog_of(settings) as catalog:
        manifest = catalog.find(settings.model.version)
        return ChosenBase(manifest, catalog.registry.fetch(manifest.version))


def chosen_manifest(settings: Settings) -> Manifest:
    """Return the manifest of the version that settings choose; no weights are read.

    Raises:
        HydraError: There is none.
    """
    with catalog_of(settings) as catalog:
        return catalog.find(settings.model.version)


def fetch_if_missing(folder: Path, url: str, cache: Path) -> None:
    """Bring a version that another machine has fetched to this one, if it is not here.

    Args:
        folder: Folder of the version on the machine that fetched it; it has the same path on this one.
        url: Folder or URI of the registry.
        cache: Folder of each machine for what is elsewhere.
    """
    if not folder.exists():
        Registry(url, cache).fetch(folder.name)


def first_served(settings: Settings) -> Manifest:
    """Return the manifest of the version that a service begins with: where none was promoted yet, the newest is.

    Raises:
        HydraError: There is no version.
    """
    with catalog_of(settings) as catalog:
        found = catalog.succession()
        if not found:
            raise nothing_in(catalog.registry)
        try:
            if catalog.serve_first(found[0], "promote"):
                log.warning("no version was promoted yet: %s, the newest, is served", found[0])
        except HydraError as error:
            # Of a store that can only be read.
            log.warning("%s is served without an alias: %s", found[0], error)
        return catalog.registry.manifest(found[0])


def publish(
    catalog: Catalog, base: Base, settings: Settings, users: Iterable[UserKey], metrics: dict[str, dict[str, float]]
) -> Manifest:
    """Publish a base that was just trained. No alias means it yet.

    Args:
        catalog: Catalog that the version is published in.
        base: The base.
        settings: Settings that it was trained with.
        users: Users whose data it was fitted on.
        metrics: What training reported last, by role.
    """
    fitted_on = sorted(set(users))
    current = catalog.aliases.current()

    def write(folder: Path) -> None:
        base.save(folder)
        (folder / USERS).write_text(users_text(base.version, fitted_on), encoding="utf-8")

    about = Manifest(
        version=base.version,
        created=now(),
        task_values=base.task.to_json(),
        settings=without_secrets(settings.model_dump(mode="json", include=_TRAINED_BY)),
        users=len(fitted_on),
        metrics=metrics,
        parent=current[PRODUCTION].version if PRODUCTION in current else None,
        probes=take_probes(base),
    )
    return catalog.registry.publish(about, write)


def delete_version(catalog: Catalog, name: str) -> str:
    """Delete a version, unless an alias or a running service points at it; return its name.

    Raises:
        VersionInUseError: Something does; the message says what.
        NoVersionError: There is no such version.
    """
    version = catalog.find(name).version
    catalog.aliases.remove(version, lambda: catalog.registry.remove(version))
    return version


def copy_version(catalog: Catalog, name: str, url: str, cache: Path) -> str:
    """Copy a version into another registry, as it is; return its name.

    Args:
        catalog: Catalog of the registry that the version is copied from.
        name: Alias or version.
        url: Folder or URI of the other registry.
        cache: Folder of this machine for what is elsewhere.
    """
    version = catalog.find(name).version
    catalog.registry.copy(version, Registry(url, cache))
    return version


def _check_not_empty(settings: Settings) -> None:
    registry = Registry(settings.registry_url, settings.registry_cache)
    if registry.is_empty() and not (settings.model_dir / "base").exists():
        raise nothing_in(registry)


def _import_old_base(settings: Settings, catalog: Catalog) -> None:
    """Publish a base of the layout before there was a registry, once; it is served where nothing is."""
    folder = settings.model_dir / "base"
    if not (folder / "base.json").exists():
        return
    version, task, _roles = read_about(folder)
    if catalog.registry.has(version) or catalog.aliases.is_removed(version):
        return
    base = Base.load(folder, settings.base.encoder.computing)
    made = datetime.fromtimestamp((folder / "base.json").stat().st_mtime, UTC)
    about = Manifest(
        version=version,
        created=made.isoformat(timespec="milliseconds"),
        task_values=task.to_json(),
        settings={},
        users=None,
        metrics={},
        parent=None,
        probes=take_probes(base),
    )
    try:
        catalog.registry.publish(about, lambda target: _copy(folder, target))
    except HydraError:
        if not catalog.registry.has(version):
            raise
        # Another process was first.
        return
    catalog.serve_first(version, "import")
    log.warning(
        "%s is now version %s of the registry %s; the folder is not read again", folder, version, catalog.registry.shown
    )


def _copy(folder: Path, target: Path) -> None:
    shutil.copytree(folder, target, dirs_exist_ok=True)


def _database(settings: Settings) -> StoreTarget | str:
    target = settings.store_target
    if BACKENDS.get(target.scheme, SqlStore) is SqlStore:
        return target
    # A store of somebody's own need not have tables.
    return f"sqlite:///{settings.model_dir / 'aliases.db'}"
