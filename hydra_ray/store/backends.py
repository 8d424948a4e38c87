"""The one place where stores are opened: a URL's scheme says which backend keeps the users."""

from __future__ import annotations

from collections.abc import Callable

from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.protocol import Store
from hydra_ray.store.sql import SqlStore

# By scheme, without a driver ("postgresql", not "postgresql+psycopg"). SQLAlchemy is asked about any other scheme.
BACKENDS: dict[str, Callable[[StoreTarget], Store]] = {
    "sqlite": SqlStore,
    "postgresql": SqlStore,
}


def open_store(target: str | StoreTarget) -> Store:
    """Open a store, and create it where there is none.

    Args:
        target: `Settings.store_target`, or a URL alone, e.g. `sqlite:///runs/users.db`.

    Raises:
        HydraError: The store cannot be opened, or a newer version of hydra-ray made it.
    """
    target = StoreTarget.of(target)
    return BACKENDS.get(target.scheme, SqlStore)(target)
