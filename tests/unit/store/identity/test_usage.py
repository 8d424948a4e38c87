"""What was used of a day is kept, and former days are dropped."""

import pytest

from hydra_ray.store.identity.usage import UsageStore, Used
from hydra_ray.store.schema import open_database


@pytest.fixture
def usage(url):
    database = open_database(url)
    yield UsageStore(database)
    database.close()


def test_the_last_counts_of_a_day_are_those_that_count(usage):
    many = {f"user:{n}": Used(n, 2 * n) for n in range(2_000)}
    usage.put("2026-03-01", many)
    usage.put("2026-03-01", {"user:1": Used(7, 8)})
    assert usage.of_day("2026-03-01") == {**many, "user:1": Used(7, 8)}
    assert usage.of_day("2026-03-02") == {}


def test_former_days_are_dropped(usage):
    usage.put("2026-03-01", {"tenant:acme": Used(1, 1)})
    usage.put("2026-03-02", {"tenant:acme": Used(2, 2)})
    assert usage.of_day("2026-03-01") == {}
    assert usage.of_day("2026-03-02") == {"tenant:acme": Used(2, 2)}
