"""The database that tests of the store use: a SQLite file, or a PostgreSQL that HYDRA_RAY_TEST_POSTGRES names."""

import os

import pytest
from sqlalchemy import create_engine, text

POSTGRES = os.environ.get("HYDRA_RAY_TEST_POSTGRES", "")


def emptied(url):
    """The URL, once nothing is left there."""
    engine = create_engine(url)
    with engine.begin() as db:
        db.execute(text("drop schema public cascade"))
        db.execute(text("create schema public"))
    engine.dispose()
    return url


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
