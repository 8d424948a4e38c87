"""Stores that tests use: a SQLite file, a database of a PostgreSQL server that tests start themselves, and memory.

What a store of users must do is tested with each backend by the fixtures `store`, `store_url` and `lasting`.
"""

import uuid

import pytest
from memory_store import MemoryStore

from hydra_ray.store.backends import BACKENDS, open_store


@pytest.fixture(scope="session", autouse=True)
def memory_backend():
    """A backend as a contributor adds it: a file, and a line of the registry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKENDS, "memory", MemoryStore)
        yield


@pytest.fixture(params=["sqlite", "postgres", "memory"])
def store_url(request):
    """URL of an empty store of each backend."""
    return f"memory://{uuid.uuid4()}" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def store(store_url):
    """An empty store of each backend."""
    store = open_store(store_url)
    yield store
    store.close()


@pytest.fixture(scope="module", params=["sqlite", "memory"])
def lasting(request):
    """A store of each backend for all examples of a property."""
    # SQLite takes no name for what is in memory.
    store = open_store("sqlite://" if request.param == "sqlite" else f"memory://{request.module.__name__}")
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request):
    """URL of an empty database of each kind."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'users.db'}"
