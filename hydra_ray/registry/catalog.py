"""The registry of models together with the aliases that say what of it is served."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_ray.records import HydraError
from hydra_ray.registry.manifest import Manifest
from hydra_ray.registry.registry import Registry
from hydra_ray.store.aliases import (
    ALIASES,
    CANDIDATE,
    PRODUCTION,
    Action,
    AliasConflictError,
    Aliases,
    line_of_succession,
)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The registry with the aliases that say what of it is served.

    Attributes:
        registry: Published versions.
        aliases: Aliases in the store's database.
    """

    registry: Registry
    aliases: Aliases

    def find(self, name: str | None) -> Manifest:
        """Return the manifest of the version that an alias or a version's own name means.

        Args:
            name: Name; None is the candidate or, where there is none, what is served or, where nothing is, the newest.

        Raises:
            HydraError: There is none.
        """
        current = self.aliases.current()
        if name is None:
            name = next((alias for alias in (CANDIDATE, PRODUCTION) if alias in current), None)
        if name is None:
            if not (versions := self.registry.versions()):
                raise nothing_in(self.registry)
            return versions[-1]
        if name in ALIASES:
            if name not in current:
                raise HydraError(f"no version is the {name}; `hydra-ray model list` shows what there is")
            name = str(current[name].version)
        return self.registry.manifest(name)

    def succession(self) -> list[str]:
        """Return the version served, and those that rolling back leads to, one after the other.

        Where none was ever promoted, the newest is served.
        """
        line = line_of_succession(self.aliases.changes(PRODUCTION))
        return line or [manifest.version for manifest in self.registry.versions()[-1:]]

    def serve_first(self, version: str, action: Action) -> bool:
        """Let `production` mean a version where it means none; return whether it did."""
        revision = self.aliases.revision(PRODUCTION)
        if PRODUCTION in self.aliases.current():
            return False
        try:
            self.aliases.change(PRODUCTION, version, revision, action)
        except AliasConflictError:
            # Somebody else was first.
            return False
        return True

    def close(self) -> None:
        """Lets the database go."""
        self.aliases.close()


def set_alias(catalog: Catalog, alias: str, version: str | None, action: Action) -> None:
    """Let an alias mean a version, or none, whatever it meant before.

    Raises:
        AliasConflictError: Somebody else changed it at the same moment.
    """
    catalog.aliases.change(alias, version, catalog.aliases.revision(alias), action)


def nothing_in(registry: Registry) -> HydraError:
    """Return the error of a registry in which nothing was published yet."""
    return HydraError(f"registry.url: {registry.shown} holds no trained base; run `hydra-ray train` first")
