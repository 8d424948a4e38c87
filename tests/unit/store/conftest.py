"""Stores that tests use: SQL (a SQLite file, or a PostgreSQL that HYDRA_RAY_TEST_POSTGRES names) and memory.

What a store of users must do is tested with each backend by the fixtures `store`, `store_url` and `lasting`.
"""

import os
import uuid

import pytest
from memory_store import MemoryStore
from sqlalchemy import create_engine, text

from hydra_ray.store.backends import BACKENDS, open_store

POSTGRES = os.environ.get("HYDRA_RAY_TEST_POSTGRES", "")


def emptied(url):
    """The URL, once nothing is left there."""
    engine = create_engine(url)
    with engine.begin() as db:
        db.execute(text("drop schema public cascade"))
        db.execute(text("create schema public"))
    engine.dispose()
    return url


@pytest.fixture(scope="session", autouse=True)
def memory_backend():
    """A backend as a contributor adds it: a file, and a line of the registry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKENDS, "memory", MemoryStore)
        yield


@pytest.fixture(params=["sql", "memory"])
def store_url(request):
    """URL of an empty store of each backend."""
    return request.getfixturevalue("url") if request.param == "sql" else f"memory://{uuid.uuid4()}"


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


@pytest.fixture
def url(tmp_path):
    return emptied(POSTGRES) if POSTGRES else f"sqlite:///{tmp_path / 'users.db'}"


@pytest.fixture
def postgres_url():
    if not POSTGRES:
        pytest.skip(
            "HYDRA_RAY_TEST_POSTGRES names no database, e.g. postgresql+psycopg://localhost/test; it is emptied"
        )
    return emptied(POSTGRES)


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'users.db'}"
