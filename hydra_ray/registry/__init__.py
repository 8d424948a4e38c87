"""The registry of models: published versions of the base, on any file system, each whole or not there at all."""

from hydra_ray.registry.manifest import Manifest, user_digest
from hydra_ray.registry.place import UnreachableError
from hydra_ray.registry.registry import DamagedVersionError, NoVersionError, Registry

__all__ = ["DamagedVersionError", "Manifest", "NoVersionError", "Registry", "UnreachableError", "user_digest"]
