"""Pools of peers are made once for all who wait, and again when they are old."""

import asyncio
import threading

import pytest

from hydra_ray.records import HydraError
from hydra_ray.steps.index.pools import FreshPools


async def test_a_pool_is_made_once_for_all_who_wait_and_whoever_gives_up_stops_nobody():
    made, go_on = [], threading.Event()

    def make(tenant):
        made.append(tenant)
        go_on.wait(60)
        return f"pool of {tenant}"

    pools = FreshPools(make, 600)
    impatient, *patient = [asyncio.create_task(pools.of("acme")) for _ in range(5)]
    await asyncio.sleep(0)
    impatient.cancel()
    go_on.set()
    assert await asyncio.gather(*patient) == ["pool of acme"] * 4
    assert made == ["acme"]


async def test_a_pool_that_could_not_be_made_is_tried_again():
    outcomes = iter([HydraError("install faiss"), "pool"])

    def make(tenant):
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    pools = FreshPools(make, 600)
    with pytest.raises(HydraError, match="install faiss"):
        await pools.of("acme")
    assert await pools.of("acme") == "pool"
