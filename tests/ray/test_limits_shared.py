"""Quotas, keys and the rule of this machine as Serve has them: real proxy, two replicas of the ingress, one limiter."""

import asyncio
import time
from collections import Counter

import httpx
import pytest
import ray
from ray import serve
from ray.serve.config import HTTPOptions
from running import free_port

from hydra_ray.serve.http.keys import KeyAuthenticate, open_keys
from hydra_ray.serve.http.principal import TrustThisMachine
from hydra_ray.serve.ingress import Ingress
from hydra_ray.serve.limits.limiter import Limiter
from hydra_ray.serve.limits.quotas import day_of
from hydra_ray.settings import parse_settings
from hydra_ray.store.identity.keys import new_key
from hydra_ray.store.identity.usage import UsageStore
from hydra_ray.store.schema import open_database
from hydra_ray.tasks import TEXT_TASK

LIMIT, ASKED = 100, 1_000


@pytest.fixture(scope="module")
def settings(scorer, tmp_path_factory):
    from hydra_ray.models.base import Base

    folder = tmp_path_factory.mktemp("model")
    Base("v1", TEXT_TASK, scorer(seed=1), scorer(seed=2)).save(folder / "base")
    limits = {"tenant": {"requests_per_day": LIMIT}}
    return parse_settings(
        {"out": str(folder), "model": {"dir": str(folder)}, "tenant": "acme", "auth": {"limits": limits}}
    )


@pytest.fixture(scope="module")
def key(settings):
    key, text = new_key("acme", ["chat"], now=time.time(), user=None, name="", expires=None)
    open_keys(settings.store_target).add(key, text, "me")
    return key, text


@pytest.fixture(scope="module")
def port(ray_cluster, settings, key):
    """Port of two applications, with keys and without, that listen to everybody."""
    port, steps = free_port(), [None] * 5
    few = {"num_cpus": 0.1}
    serve.start(http_options=HTTPOptions(host="0.0.0.0", port=port))
    keys = KeyAuthenticate(settings.store_target, frozenset({"acme"}), settings.serve.key_cache_s)
    limiter = Limiter.bind(settings.store_target, settings.logging)
    ingress = Ingress.options(num_replicas=2, ray_actor_options=few)
    alone = Ingress.options(ray_actor_options=few).bind(settings, *steps, TrustThisMachine("acme"), None, None)
    try:
        serve.run(ingress.bind(settings, *steps, keys, limiter, None), name="keys", route_prefix="/keys")
        serve.run(alone, name="off", route_prefix="/off")
        yield port
    finally:
        # What is left keeps CPUs that other tests wait for.
        serve.shutdown()


async def statuses(url, text):
    gate = asyncio.Semaphore(32)
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {text}"}, timeout=120) as client:

        async def one():
            async with gate:
                return await client.get(url)

        return await asyncio.gather(*(one() for _ in range(ASKED)))


def test_so_many_requests_pass_as_the_quota_says_through_all_replicas(port, settings, key):
    assert serve.status().applications["keys"].deployments["Ingress"].replica_states == {"RUNNING": 2}
    url = f"http://127.0.0.1:{port}/keys/v1/models"
    assert httpx.get(url).status_code == 401
    replies = asyncio.run(statuses(url, key[1]))
    counted = Counter(reply.status_code for reply in replies)
    assert counted.keys() == {200, 429}
    assert counted[200] == pytest.approx(LIMIT, abs=5)
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    # It is kept, so that a limiter that starts anew goes on from there.
    usage, give_up = UsageStore(open_database(settings.store_target)), time.monotonic() + 60
    while (kept := usage.of_day(day_of(time.time())).get("tenant:acme")) is None or kept.requests < LIMIT:
        if time.monotonic() > give_up:
            raise AssertionError(f"not kept: {kept}")
        time.sleep(0.1)


def test_a_revocation_reaches_all_replicas(port, settings):
    key, text = new_key("acme", ["users"], now=time.time(), user=None, name="", expires=None)
    open_keys(settings.store_target).add(key, text, "me")
    url, sent = f"http://127.0.0.1:{port}/keys/v1/models", {"Authorization": f"Bearer {text}"}
    # What has no scope for a route counts for no quota.
    assert {httpx.get(url, headers=sent).status_code for _ in range(8)} == {403}
    open_keys(settings.store_target).revoke(None, key.id, "me")
    time.sleep(settings.serve.key_cache_s)
    assert {httpx.get(url, headers=sent).status_code for _ in range(8)} == {401}


def test_without_keys_the_proxy_tells_who_is_of_this_machine(port):
    here, there = "127.0.0.1", ray.util.get_node_ip_address()
    assert httpx.get(f"http://{here}:{port}/off/v1/models").status_code == 200
    for name, address in (("X-Forwarded-For", "10.0.0.5"), ("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=::1")):
        assert httpx.get(f"http://{here}:{port}/off/v1/models", headers={name: address}).status_code == 403
    if there == here:
        pytest.skip("this machine has no other address")
    reply = httpx.get(f"http://{there}:{port}/off/v1/models", headers={"X-Forwarded-For": here})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "loopback_only")
    assert httpx.get(f"http://{there}:{port}/off/v1/models").status_code == 403
    assert httpx.get(f"http://{there}:{port}/off/healthz").status_code == 200
