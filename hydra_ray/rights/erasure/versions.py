"""Which published versions of the base were fitted with a user's data: they stay as they are, and are named."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from hydra_ray.models.base import read_about
from hydra_ray.records import HydraError, UserKey
from hydra_ray.registry import Registry
from hydra_ray.registry.manifest import MANIFEST, USERS, user_digest
from hydra_ray.settings import Settings


def versions_fitted_with(
    settings: Settings, key: UserKey, training_users: Collection[UserKey] | None
) -> dict[str, bool | None]:
    """Return by version whether it was fitted with a user's data; None where that is not known.

    A version in a registry says so itself: its manifest has beside it the digests of the users whose data it was fitted
    on. Of the base in `model.dir`, which says nothing, it is known by the records, if they are those that it was
    trained on.

    Args:
        settings: Say where bases are.
        key: The user.
        training_users: Users of split train as the records have them now; None where they cannot be read.
    """
    # Those of experiments, which have registries of their own, and those of the registry, wherever it is.
    found = dict(_published(settings.out, key))
    found |= Registry(settings.registry_url, settings.registry_cache).fitted_with(key)
    try:
        version = read_about(settings.model_dir / "base").version
    except HydraError:
        return found
    if found.get(version) is None:
        found[version] = None if training_users is None else key in training_users
    return found


def _published(folder: Path, key: UserKey) -> Iterable[tuple[str, bool | None]]:
    for manifest in sorted(folder.rglob(MANIFEST)):
        try:
            about = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        version = about.get("version") if isinstance(about, dict) else None
        if isinstance(version, str):
            users = manifest.with_name(USERS)
            listed = users.read_text(encoding="utf-8").split() if users.is_file() else None
            yield version, None if listed is None else user_digest(version, key) in listed
