"""The memory of every process of the application stays as it is, whatever comes."""

import os

import pytest
from cluster_processes import of_the_application
from mixed_requests import Mixed
from served_app import USERS

# HYDRA_RAY_SOAK takes more of them, to look for small leaks.
REQUESTS, WARM = int(os.environ.get("HYDRA_RAY_SOAK", "2000")), 600
MOST_MIB = 20


@pytest.fixture
async def mixed(app):
    mixed = Mixed(app.url, USERS)
    yield mixed
    await mixed.close()


def taken_mib():
    """Memory of each process that it shares with no other."""
    return {title: process.memory_full_info().uss / 2**20 for title, process in of_the_application().items()}


async def test_memory_is_flat_over_2000_requests_of_all_kinds(mixed):
    await mixed.send(0, WARM)
    before = taken_mib()
    await mixed.send(WARM, REQUESTS)
    after = taken_mib()
    assert set(after) == set(before)
    grown = {title: round(after[title] - before[title], 1) for title in before}
    print(f"grown by, MiB: {grown}")
    assert max(grown.values()) < MOST_MIB, grown
