"""What replicas wrote down of the versions that they hold, and what follows from it for all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from hydra_ray.records import HydraError
from hydra_ray.registry.catalog import Catalog
from hydra_ray.store.aliases import State, VersionUse

log = logging.getLogger(__name__)

# A replica says so often what it holds, and that holds for so long where it ends without a word.
TELL_S, LEASE_S = 10.0, 30.0
# Holders whose names begin so hold nothing in memory: they say which version requests are answered with.
INGRESS = "ingress"


def all_hold(uses: Sequence[VersionUse], version: str) -> bool:
    """Return whether every replica that is there holds a version."""
    return set(_replicas(uses)) == set(_replicas(use for use in uses if (use.version, use.state) == (version, "ready")))


def is_refused(uses: Iterable[VersionUse], version: str) -> bool:
    """Return whether any replica refused a version: then it is for nobody."""
    return any(use.version == version and use.state == "refused" for use in uses)


def asked_for(uses: Iterable[VersionUse]) -> set[str]:
    """Return the versions that requests are answered with."""
    return {use.version for use in uses if use.holder.startswith(INGRESS)}


def tell(catalog: Catalog, holder: str, states: Mapping[str, State]) -> None:
    """Says what a replica holds; where that cannot be written, the service goes on all the same."""
    try:
        catalog.aliases.hold(holder, states, LEASE_S)
    except HydraError as error:
        log.warning("nobody can be told which versions are held here: %s", error)


def _replicas(uses: Iterable[VersionUse]) -> Iterable[str]:
    return (use.holder for use in uses if not use.holder.startswith(INGRESS))
