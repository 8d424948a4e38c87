"""Which version of the base a request is answered with: what its `model` says, and what was promoted."""

from __future__ import annotations

import logging
import socket
import time
import uuid

from hydra_ray.records import HydraError
from hydra_ray.registry import Manifest, NoVersionError, UnreachableError
from hydra_ray.registry.catalog import Catalog
from hydra_ray.runtime.loading import check_task
from hydra_ray.serve.versions.polling import Poller
from hydra_ray.serve.versions.uses import INGRESS, TELL_S, all_hold, is_refused, tell
from hydra_ray.store.aliases import ALIASES, CANDIDATE, PRODUCTION, VersionUse

log = logging.getLogger(__name__)


class UnknownModelError(HydraError):
    """No model has this name."""


class ServedNames:
    """Knows the version served, and finds those that requests name: `hydra`, `hydra@candidate`, `hydra@<version>`.

    A version that was promoted is served once every replica that is there holds it, so that no request waits for one to
    be loaded; as long as one refuses it, the version before stays.

    Args:
        catalog: Registry and aliases.
        model_name: Name of the version that is served.
        poll_s: Seconds between two looks at the aliases.

    Raises:
        HydraError: There is no version.
    """

    def __init__(self, catalog: Catalog, model_name: str, poll_s: float) -> None:
        self._catalog, self._name = catalog, model_name
        self._holder = f"{INGRESS} {uuid.uuid4().hex[:8]} on {socket.gethostname()}"
        self._uses: list[VersionUse] = []
        self._aliases: dict[str, str] = {}
        self._production: Manifest | None = None
        self._said_at = float("-inf")
        self.poll()
        if not self._serves():
            raise HydraError(f"no version of {catalog.registry.shown} can be served")
        self._poller = Poller(self.poll, poll_s)

    def _serves(self) -> bool:
        return self._production is not None

    @property
    def production(self) -> Manifest:
        """Manifest of the version served."""
        assert self._production is not None
        return self._production

    def name_of(self, version: str) -> str:
        """Return the name by which a request gets exactly this version."""
        return f"{self._name}@{version}"

    def at_hand(self, asked: str) -> Manifest | None:
        """Return the version served where that is what a name means; else the name is to be looked up."""
        names = self._name, f"{self._name}@{PRODUCTION}", self.name_of(self.production.version)
        return self.production if asked in names else None

    def find(self, asked: str) -> Manifest:
        """Return the manifest of what a request names.

        Raises:
            UnknownModelError: There is no such model, or it is of another task than the one served.
            UnreachableError: The registry does not answer.
        """
        if (found := self.at_hand(asked)) is not None:
            return found
        name, _, version = asked.rpartition("@")
        if name != self._name or not version:
            raise UnknownModelError(f"there is no model {asked!r}; this is {self._name!r}")
        if version in ALIASES:
            if version not in self._aliases:
                raise UnknownModelError(f"there is no model {asked!r}: no version is the {version}")
            version = self._aliases[version]
        try:
            manifest = self._catalog.registry.manifest(version)
            check_task(self.production.task, manifest.task)
        except NoVersionError:
            raise UnknownModelError(f"there is no model {asked!r}: the registry has no such version") from None
        except UnreachableError:
            raise
        except HydraError as error:
            raise UnknownModelError(f"model {asked!r} cannot be served here: {error}") from None
        return manifest

    def all(self) -> list[tuple[str, int]]:
        """Return the names of all models, aliases first, with when each was published, in seconds since 1970.

        The name alone is an alias, too, and means what `production` means.
        """
        versions = {manifest.version: manifest for manifest in self._catalog.registry.versions()}
        found = [(name, self.production.created_s) for name in (self._name, f"{self._name}@{PRODUCTION}")]
        if (candidate := versions.get(self._aliases.get(CANDIDATE, ""))) is not None:
            found.append((f"{self._name}@{CANDIDATE}", candidate.created_s))
        task = self.production.task.name
        alike = (manifest for manifest in versions.values() if manifest.task.name == task)
        return found + [(self.name_of(manifest.version), manifest.created_s) for manifest in alike]

    def is_held(self, version: str) -> bool:
        """Whether every replica held the version when it was last looked at."""
        return version == self.production.version or all_hold(self._uses, version)

    def poll(self) -> None:
        """Looks up aliases and replicas, and takes up what was promoted once all can answer with it."""
        self._uses = self._catalog.aliases.uses()
        self._aliases = {name: str(change.version) for name, change in self._catalog.aliases.current().items()}
        for version in self._catalog.succession():
            if (
                self._production is not None
                and version == self._production.version
                and not is_refused(self._uses, version)
            ):
                break
            if is_refused(self._uses, version):
                continue
            if self._production is not None and not all_hold(self._uses, version):
                # Not yet; what is served stays.
                break
            if self._takes_up(version):
                break
        if time.monotonic() - self._said_at > TELL_S:
            self._tell()

    def close(self) -> None:
        """Ends polling. Serve calls it, and so may Python once more."""
        if self._poller.is_closed:
            return
        self._poller.close()
        tell(self._catalog, self._holder, {})
        self._catalog.close()

    def _takes_up(self, version: str) -> bool:
        try:
            manifest = self._catalog.registry.manifest(version)
        except HydraError as error:
            log.error("version %s is not taken up: %s", version, error)
            return False
        if self._production is not None:
            log.warning("requests get version %s from now on, no longer %s", version, self._production.version)
        self._production = manifest
        self._tell()
        return True

    def _tell(self) -> None:
        tell(self._catalog, self._holder, {self.production.version: "ready"})
        self._said_at = time.monotonic()
