"""A store with something in every table, of both kinds of database, and empty ones."""

import pytest
from stored_users import fill

from hydra_ray.store.connections.target import StoreTarget


@pytest.fixture
def filled(url):
    """Target of a store with users of two tenants."""
    fill(url)
    return StoreTarget.of(url)


@pytest.fixture
def empty(tmp_path):
    """Makes targets of empty stores, by name."""
    return lambda name="empty": StoreTarget.of(f"sqlite:///{tmp_path / name}.db")
