"""Moves users' heads between a store and sharded safetensors."""

from __future__ import annotations

from pathlib import Path

from hydra_ray.runtime.models import chosen_manifest
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.shards import export_heads, import_heads


def move_heads(settings: Settings, folder: Path, *, out: bool) -> str:
    """Exports (`out`) or imports the heads of all roles of the trained base; says how many.

    Raises:
        HydraError: There is no base, or the shards are not of it.
    """
    manifest = chosen_manifest(settings)
    version, there = manifest.version, manifest.roles
    store = open_store(settings.store_target)
    move = export_heads if out else import_heads
    roles = [role for role in there if out or any(folder.glob(f"{role}-*.safetensors"))]
    counts = {role: move(store, version, role, folder) for role in roles or there}
    store.close()
    moved = ", ".join(f"{count} {role} heads" for role, count in counts.items())
    return f"{moved} of base {version} {'written to' if out else 'read from'} {folder}"
