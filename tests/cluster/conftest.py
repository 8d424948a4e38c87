"""Clusters of several nodes, one at a time, and what runs beside them: an LLM endpoint, PostgreSQL and Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from llm_endpoint import LLM
from node_places import Network, why_not
from postgres import new_database

os.environ.setdefault("OPENAI_API_KEY", "none")


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """A network of its own for nodes."""
    if reason := why_not():
        pytest.skip(f"nodes want addresses of their own: {reason}")
    network = Network()
    yield network
    network.end()


@pytest.fixture(scope="session")
def llm(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    """An LLM endpoint that every node reaches."""
    endpoint = LLM(tmp_path_factory.mktemp("llm"), network.address)
    yield endpoint
    endpoint.kill()


@pytest.fixture(scope="session")
def database(postgres_server: str) -> Iterator[str]:
    """URL of a PostgreSQL that every node reaches."""
    with new_database(postgres_server) as url:
        yield url
