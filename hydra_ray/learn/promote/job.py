"""Makes a version of the base the one that is served."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_ray.models.base import ADAPTER
from hydra_ray.progress import ProgressListener
from hydra_ray.records import HydraError
from hydra_ray.registry import Manifest
from hydra_ray.registry.catalog import Catalog
from hydra_ray.runtime.loading import check_task
from hydra_ray.runtime.models import catalog_of, used_roles
from hydra_ray.settings import Settings
from hydra_ray.store.aliases import CANDIDATE, PRODUCTION
from hydra_ray.store.backends import open_store


@dataclass(frozen=True, slots=True)
class Promotion:
    """Result of a promotion or of rolling back.

    Attributes:
        version: Version that is served from now on.
        before: Version that was served before; None where none was.
        users: Users with a head on the version served before.
        fitted: Those of them for whom heads were fitted on the new one.
    """

    version: str
    before: str | None
    users: int
    fitted: int

    @property
    def share(self) -> float:
        """Share of the users who keep a head of their own."""
        return self.fitted / self.users if self.users else 1.0


def promote_version(settings: Settings, name: str, listener: ProgressListener, *, fit: bool) -> Promotion:
    """Makes a version the one that is served, once enough of its users have heads.

    Args:
        settings: Settings of the service; with `fit`, heads are fitted as they say, from the histories in the store.
        name: Alias or version.
        listener: Shows how far the fit is.
        fit: Whether heads that are missing are fitted first.

    Raises:
        HydraError: There is no such version, it is of another task or lacks the reranker that settings want, too few
            users have heads, or somebody else promoted at the same moment.
        UnfinishedError: The LLM did not answer all that the heads are fitted from.
    """
    with catalog_of(settings) as catalog:
        manifest = catalog.find(name)
        revision, before = catalog.aliases.revision(PRODUCTION), _served(catalog)
        if before is not None and before.version == manifest.version:
            raise HydraError(f"version {manifest.version} is what is served already")
        if before is not None:
            check_task(before.task, manifest.task)
        used_roles(settings, manifest)
        # Checked before heads are fitted, which takes long, and before anybody gets it.
        catalog.registry.fetch(manifest.version)
        if fit and before is not None:
            # Also where all have a head: what they have said since it was fitted is to count.
            _fit(settings, manifest.version, before, listener)
        found = count_heads(settings, manifest.version, before)
        if found.share < settings.registry.min_heads:
            raise HydraError(
                f"version {manifest.version} is not promoted: {found.fitted} of {found.users} users who have a head on "
                f"{found.before} have one on it ({found.share:.0%}, registry.min_heads wants "
                f"{settings.registry.min_heads:.0%}). Fit them: `hydra-ray fit SETTINGS.yaml "
                f"model.version={manifest.version} data.format=store`"
            )
        _serve(catalog, manifest.version, revision)
        return found


def roll_back(settings: Settings) -> Promotion:
    """Makes the version that was served before the one that is served again, at once.

    Raises:
        HydraError: There was none, or it is damaged.
    """
    with catalog_of(settings) as catalog:
        revision, line = catalog.aliases.revision(PRODUCTION), catalog.succession()
        before = [version for version in line[1:] if catalog.registry.has(version)]
        if not before:
            raise HydraError(
                "there is no version to roll back to: only one was ever promoted, or the others are deleted"
            )
        catalog.registry.fetch(before[0])
        found = count_heads(settings, before[0], catalog.registry.manifest(line[0]))
        catalog.aliases.change(PRODUCTION, before[0], revision, "rollback")
        return found


def catch_up(settings: Settings, done: Promotion, listener: ProgressListener) -> Promotion:
    """Fits heads of a version that was rolled back to, so that what users said of the other one's answers counts.

    Apart from rolling back, which is not to wait for it: whoever rolls back wants the other version gone.

    Args:
        settings: Settings of the service; heads are fitted as they say, from the histories in the store.
        done: Result of rolling back: which version is served again, and which was left.
        listener: Shows how far the fit is.

    Returns:
        The result, with the users who have heads now.

    Raises:
        HydraError: Heads cannot be fitted as settings say; the version is served all the same.
        UnfinishedError: The LLM did not answer all that the heads are fitted from.
    """
    with catalog_of(settings) as catalog:
        left = catalog.registry.manifest(str(done.before))
    _fit(settings, done.version, left, listener)
    return count_heads(settings, done.version, left)


def count_heads(settings: Settings, version: str, before: Manifest | None) -> Promotion:
    """Count the users with a head on the version served, and those of them who were fitted on another.

    Who taught too little for a head when they were fitted counts as fitted.
    """
    if before is None:
        return Promotion(version, None, 0, 0)
    store = open_store(settings.store_target)
    try:
        users = set(store.users_with_head(before.version, ADAPTER))
        fitted = users & set(store.head_fingerprints(version, ADAPTER))
    finally:
        store.close()
    return Promotion(version, before.version, len(users), len(fitted))


def _served(catalog: Catalog) -> Manifest | None:
    current = catalog.aliases.current().get(PRODUCTION)
    return None if current is None else catalog.registry.manifest(str(current.version))


def _serve(catalog: Catalog, version: str, revision: int) -> None:
    catalog.aliases.change(PRODUCTION, version, revision, "promote")
    candidate = catalog.aliases.current().get(CANDIDATE)
    if candidate is not None and candidate.version == version:
        # After the other: whoever is killed between leaves two names of one version.
        catalog.aliases.change(CANDIDATE, None, candidate.revision, "clear")


def _fit(settings: Settings, version: str, before: Manifest, listener: ProgressListener) -> None:
    """Fit a version's heads of all whom another one knows, as far as they are not up to date."""
    # Imported here, since it brings Ray: who only sets an alias does without.
    from hydra_ray.learn.heads.job import fit_users

    for tenant in _tenants(settings, before):
        fit_users(_from_store(settings, version, tenant), listener)


def _tenants(settings: Settings, before: Manifest) -> list[str]:
    """Return the tenants of users who have a head on a version and something to fit another one from."""
    store = open_store(settings.store_target)
    try:
        keys = store.users_with_head(before.version, ADAPTER)
        return sorted({key.tenant for key in keys if store.history_version(key) is not None})
    finally:
        store.close()


def _from_store(settings: Settings, version: str, tenant: str) -> Settings:
    model = settings.model.model_copy(update={"version": version})
    data = settings.data.model_copy(update={"format": "store", "max_users": None})
    return settings.model_copy(update={"model": model, "data": data, "users": "train", "tenant": tenant})
