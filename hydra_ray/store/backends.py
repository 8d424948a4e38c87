"""The one place where stores are opened: a URL's scheme says which backend keeps the users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

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


def is_there(target: str | StoreTarget) -> bool:
    """Return whether something may be in a store: a SQLite file that is missing holds nothing.

    Args:
        target: SQLAlchemy URL or target of the store.
    """
    try:
        parsed = make_url(StoreTarget.of(target).url)
    except (SQLAlchemyError, ValueError):
        return True
    if parsed.get_backend_name() != "sqlite":
        return True
    path = parsed.database or ""
    # SQLite's own URIs are left to it.
    return path.startswith("file:") or Path(path).is_file()
