"""Keys are looked up where they are needed, and what was found is remembered for `serve.key_cache_s`."""

import pickle
import time

import pytest
from clocks import Clock
from starlette.datastructures import Headers

from hydra_ray.serve.http import keys as authentication
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.keys import KeyAuthenticate, open_keys
from hydra_ray.serve.http.principal import Caller
from hydra_ray.store.identity.keys import new_key


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'users.db'}"


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(time.time())
    monkeypatch.setattr(authentication, "time", clock)
    return clock


def made(url, tenant="acme", **more):
    key, text = new_key(tenant, ["chat"], now=time.time(), **{"user": None, "name": "", "expires": None, **more})
    open_keys(url).add(key, text, "me")
    return key, text


def sent(text):
    return Headers({"Authorization": f"Bearer {text}"})


async def status(authenticate, text):
    try:
        await authenticate(sent(text), "10.0.0.5")
    except RequestError as error:
        return error.status
    return 200


async def test_a_key_says_whose_it_is_and_what_it_may_do(url):
    key, text = made(url, user="ann")
    found = await KeyAuthenticate(url, frozenset({"acme"}), 1)(sent(text), "10.0.0.5")
    assert found == Caller("acme", key.id, frozenset({"chat"}), "ann")


async def test_a_revocation_holds_on_every_replica_when_its_memory_ends(url, clock):
    key, text = made(url)
    # As Serve hands it to each replica.
    replicas = [pickle.loads(pickle.dumps(KeyAuthenticate(url, frozenset({"acme"}), 1))) for _ in range(2)]
    assert [await status(one, text) for one in replicas] == [200, 200]
    open_keys(url).revoke(None, key.id, "me")
    clock.now += 0.9
    assert [await status(one, text) for one in replicas] == [200, 200]
    clock.now += 0.1
    assert [await status(one, text) for one in replicas] == [401, 401]


async def test_without_memory_a_revocation_holds_at_once(url):
    key, text = made(url)
    authenticate = KeyAuthenticate(url, frozenset({"acme"}), 0)
    assert await status(authenticate, text) == 200
    open_keys(url).revoke(None, key.id, "me")
    assert await status(authenticate, text) == 401


async def test_a_key_expires_while_it_is_remembered(url, clock):
    _, text = made(url, expires=clock.now + 5)
    authenticate = KeyAuthenticate(url, frozenset({"acme"}), 3600)
    assert await status(authenticate, text) == 200
    clock.now += 5
    assert await status(authenticate, text) == 401


async def test_a_key_that_is_made_is_known_when_its_absence_is_forgotten(url, clock):
    key, text = new_key("acme", ["chat"], now=time.time(), user=None, name="", expires=None)
    authenticate = KeyAuthenticate(url, frozenset({"acme"}), 1)
    assert await status(authenticate, text) == 401
    open_keys(url).add(key, text, "me")
    clock.now += 1
    assert await status(authenticate, text) == 200


async def test_a_tenant_that_is_not_served_is_refused(url):
    _, text = made(url, tenant="zeta")
    assert await status(KeyAuthenticate(url, frozenset({"acme"}), 1), text) == 403


async def test_guesses_do_not_fill_the_memory(url, monkeypatch):
    monkeypatch.setattr(authentication, "_MOST_KEPT", 10)
    authenticate = KeyAuthenticate(url, frozenset({"acme"}), 3600)
    assert {await status(authenticate, f"hydra_{n}") for n in range(30)} == {401}
    assert len(authenticate._kept) == 10
