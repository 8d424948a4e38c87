"""The hosted counters keep the day: whoever starts anew goes on from what was kept."""

import asyncio
import time

import pytest

from hydra_ray.serve.limits import limiter as hosted
from hydra_ray.serve.limits.quotas import NO_LIMIT, Limited, day_of
from hydra_ray.settings import LoggingSettings
from hydra_ray.store.identity.usage import UsageStore, Used
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import StoreError

ACME = Limited("tenant:acme", "tenant", NO_LIMIT._replace(requests_per_day=5))


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'users.db'}"


@pytest.fixture
def make(url, monkeypatch):
    """Makes the deployment's class itself; it keeps what it counted as soon as it may."""
    monkeypatch.setattr(hosted, "_KEEP_EVERY_S", 0.0)
    return lambda: hosted.Limiter.func_or_class(url, LoggingSettings())


def kept(url):
    return UsageStore(open_database(url)).of_day(day_of(time.time()))


async def until(found):
    while not found():
        await asyncio.sleep(0.005)


async def test_what_was_counted_is_kept_while_it_runs(make, url):
    limiter = make()
    admissions = await limiter.count([[ACME]] * 9, [([ACME], 30)])
    assert sum(one.refused is None for one in admissions) == 5
    await asyncio.wait_for(until(lambda: kept(url) == {"tenant:acme": Used(5, 30)}), 60)
    assert (await make().count([[ACME]], []))[0].refused == "requests"


async def test_where_the_database_is_down_it_counts_on_and_keeps_it_later(make, url, monkeypatch, caplog):
    limiter, put, failures = make(), UsageStore.put, []

    def down(*_):
        failures.append(1)
        raise StoreError("the database is down")

    monkeypatch.setattr(UsageStore, "put", down)
    await limiter.count([[ACME]] * 3, [])
    await asyncio.wait_for(until(lambda: failures), 60)
    monkeypatch.setattr(UsageStore, "put", put)
    assert (await limiter.count([[ACME]], []))[0].refused is None
    await asyncio.wait_for(until(lambda: kept(url) == {"tenant:acme": Used(4, 0)}), 60)
    assert "could not be kept" in caplog.text


def test_what_is_stopped_keeps_the_last_of_it(url):
    limiter = hosted.Limiter.func_or_class(url, LoggingSettings())

    async def asked():
        await limiter.count([[ACME]] * 2, [])

    asyncio.run(asked())
    limiter.__del__()
    asyncio.run(asyncio.wait_for(until(lambda: kept(url) == {"tenant:acme": Used(2, 0)}), 60))
