"""The memory of every process of the application stays as it is, whatever comes."""

import os
import re
from pathlib import Path

import pytest
from cluster_processes import of_the_application
from mixed_requests import Mixed
from served_app import USERS

# HYDRA_RAY_SOAK takes more of them, to look for small leaks.
REQUESTS, WARM = int(os.environ.get("HYDRA_RAY_SOAK", "2000")), 800
# Seen: up to 6 in the ingress, whose allocator is not at its end yet, and up to 4 in the others. A leak of 20 kB a
# request would be 40 in the ingress, and 10 in a step that every fourth of these requests asks.
MOST_MIB = 8


@pytest.fixture
async def mixed(app):
    mixed = Mixed(app.url, USERS)
    yield mixed
    await mixed.close()


def taken_mib():
    """Memory of each process that is no file's; pages of files are its own or shared as others come and go."""
    rollups = {title: Path(f"/proc/{one.pid}/smaps_rollup").read_text() for title, one in of_the_application().items()}
    return {
        title: sum(int(re.search(rf"^{kind}: +(\d+) kB", text, re.M)[1]) for kind in ("Anonymous", "Swap")) / 1024
        for title, text in rollups.items()
    }


async def test_memory_is_flat_over_2000_requests_of_all_kinds(mixed):
    await mixed.send(0, WARM)
    before = taken_mib()
    await mixed.send(WARM, REQUESTS)
    after = taken_mib()
    assert set(after) == set(before)
    grown = {title: round(after[title] - before[title], 1) for title in before}
    print(f"grown by, MiB: {grown}")
    assert max(grown.values()) < MOST_MIB, grown
