"""The versions of the base that one replica of reranker or adapter can answer with."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from hydra_ray.records import HydraError
from hydra_ray.registry import Manifest, NoVersionError, UnreachableError
from hydra_ray.registry.catalog import Catalog
from hydra_ray.serve.versions.polling import Poller
from hydra_ray.serve.versions.uses import TELL_S, all_hold, asked_for, is_refused, tell
from hydra_ray.store.aliases import PRODUCTION, State
from hydra_ray.store.types import StoreError

log = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")


class RefusedVersionError(HydraError):
    """A version failed its check here, and is not loaded again unless it is promoted again."""


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """Numbers of `HeldVersions`.

    Attributes:
        loaded: Most versions in memory.
        poll_s: Seconds between two looks at the aliases.
        keep_s: A version that is not served stays so long after it was last asked for: requests that began with it are
            then done.
    """

    loaded: int
    poll_s: float
    keep_s: float


class HeldVersions(Generic[Loaded]):
    """Holds the version served, those that requests name, and those that were served a moment ago.

    A promotion is taken up while the old version answers: the new one is loaded and checked first, and where it fails
    here or in another replica, the old one stays. Who asks for a version that is not there has it loaded.

    Args:
        catalog: Registry and aliases.
        role: Reranker or adapter.
        load: Loads a version and checks it; raises `HydraError` where it fails.
        limits: Number of versions held, seconds between looks, and seconds for which a version that is left is kept.
        observe: Called with what became of a version, `loaded` or `refused`.

    Raises:
        HydraError: No version that was ever served can be loaded.
    """

    def __init__(
        self,
        catalog: Catalog,
        role: str,
        load: Callable[[Manifest, Path], Loaded],
        limits: HoldLimits,
        observe: Callable[[str], None],
    ) -> None:
        self._catalog, self._load, self._limits, self._observe = catalog, load, limits, observe
        self.holder = f"{role} {uuid.uuid4().hex[:8]} on {socket.gethostname()}"
        self._held: OrderedDict[str, tuple[Loaded, float]] = OrderedDict()
        self._refused: dict[str, str] = {}
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._revision, self._said_at = 0, float("-inf")
        self._production: str | None = None
        self._coming: str | None = None
        self.poll()
        if not self._serves():
            reasons = "; ".join(self._refused.values()) or "there is none"
            raise HydraError(f"no version of {catalog.registry.shown} can be served: {reasons}")
        self._poller = Poller(self.poll, limits.poll_s)

    def _serves(self) -> bool:
        return self._production is not None

    @property
    def production(self) -> str:
        """The version that is served, as far as this replica has taken it up."""
        assert self._production is not None
        return self._production

    async def ready(self, version: str | None) -> Loaded:
        """Return a version, loaded in a thread where it is not there yet; None is the one served.

        Raises:
            HydraError: There is no such version, or it failed its check.
        """
        version = version or self.production
        found = self._find(version)
        return found if found is not None else await asyncio.to_thread(self.get, version)

    def get(self, version: str) -> Loaded:
        """Return a version, and load it where it is not there yet.

        Raises:
            HydraError: As `ready`.
        """
        with self._loading:
            found = self._find(version)
            if found is not None:
                return found
            if version in self._refused:
                raise RefusedVersionError(self._refused[version])
            try:
                manifest = self._catalog.registry.manifest(version)
                loaded = self._load(manifest, self._catalog.registry.fetch(version))
            except (NoVersionError, UnreachableError, StoreError):
                raise
            except Exception as error:
                self._refuse(version, error)
                raise RefusedVersionError(str(error)) from error
            with self._lock:
                self._held[version] = loaded, time.monotonic()
            self._observe("loaded")
        self._drop_idle()
        self._tell()
        return loaded

    def poll(self) -> None:
        """Takes up what was promoted since, and says what is held."""
        revision = self._catalog.aliases.revision(PRODUCTION)
        line = self._catalog.succession()
        if revision != self._revision and line and self._refused.pop(line[0], ""):
            # Somebody promoted it anew: perhaps it is mended.
            self._tell()
        uses = self._catalog.aliases.uses()
        for version in line:
            # Who has just started finds out by itself: what others refused, they may have refused long ago.
            if self._production is not None and is_refused(uses, version):
                continue
            if version == self._production or not self._goes_on_to(version):
                break
        if line and self._production == line[0]:
            self._coming = None
        self._revision = revision
        self._drop_idle()
        if time.monotonic() - self._said_at > TELL_S:
            self._tell()

    def close(self) -> None:
        """Ends polling, and says that nothing is held any more. Serve calls it, and so may Python once more."""
        if self._poller.is_closed:
            return
        self._poller.close()
        self._held.clear()
        self._refused.clear()
        self._tell()
        self._catalog.close()

    def _goes_on_to(self, version: str) -> bool:
        """Load a version, and serve it if all replicas can; return whether to try the version before it."""
        self._coming = version
        try:
            self.get(version)
        except (RefusedVersionError, NoVersionError) as error:
            log.error("version %s is not taken up, and %s stays: %s", version, self._production, error)
            return True
        if self._production is None:
            self._production = version
        elif all_hold(self._catalog.aliases.uses(), version):
            log.warning("version %s is served from now on, no longer %s", version, self._production)
            self._production = version
        return False

    def _find(self, version: str) -> Loaded | None:
        with self._lock:
            if version not in self._held:
                return None
            loaded, _ = self._held[version]
            self._held[version] = loaded, time.monotonic()
            self._held.move_to_end(version)
            return loaded

    def _refuse(self, version: str, error: Exception) -> None:
        self._refused[version] = str(error)
        self._observe("refused")
        log.error("version %s is refused", version, exc_info=error)
        self._tell()

    def _drop_idle(self) -> None:
        """Lets versions go that nobody asks for; batches under way keep theirs until they are done."""
        try:
            asked = {self._production, self._coming, *asked_for(self._catalog.aliases.uses())}
        except StoreError as error:
            log.warning("which versions are still asked for is not known now: %s", error)
            return
        before = time.monotonic() - self._limits.keep_s
        with self._lock:
            # Those that were used last stand last.
            for version, (_, used) in list(self._held.items()):
                too_many = len(self._held) > self._limits.loaded
                if version not in asked and (too_many or used < before):
                    del self._held[version]

    def _tell(self) -> None:
        with self._lock:
            states: dict[str, State] = dict.fromkeys(self._held, "ready")
        states |= dict.fromkeys(self._refused, "refused")
        tell(self._catalog, self.holder, states)
        self._said_at = time.monotonic()
