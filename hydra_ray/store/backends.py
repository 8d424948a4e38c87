"""The one place where stores are opened: a URL's scheme says which backend keeps the users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from hydra_ray.store.protocol import Store
from hydra_ray.store.sql import SqlStore

# By scheme, without a driver ("postgresql", not "postgresql+psycopg"). SQLAlchemy is asked about any other scheme.
BACKENDS: dict[str, Callable[[str], Store]] = {
    "sqlite": SqlStore,
    "postgresql": SqlStore,
}


def open_store(url: str) -> Store:
    """Open the store of a URL, and create it where there is none.

    Args:
        url: Value of the setting `model.store`, e.g. `sqlite:///runs/model/users.db`.

    Raises:
        HydraError: The store cannot be opened, or a newer version of hydra-ray made it.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    return BACKENDS.get(scheme, SqlStore)(url)


def is_there(url: str) -> bool:
    """Return whether something may be in the store of a URL: a SQLite file that is missing holds nothing.

    Args:
        url: As `open_store` takes it.
    """
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        return True
    if parsed.get_backend_name() != "sqlite":
        return True
    path = parsed.database or ""
    # SQLite's own URIs are left to it.
    return path.startswith("file:") or Path(path).is_file()
