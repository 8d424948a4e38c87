"""API keys in the database: found by what callers show, kept as hashes, every change in the audit log."""

import time

import pytest
from clocks import Clock

from hydra_ray.records import HydraError
from hydra_ray.store.audit import AuditLog
from hydra_ray.store.identity import key_store
from hydra_ray.store.identity.key_store import KeyNotFoundError, SqlKeyStore
from hydra_ray.store.identity.keys import new_key
from hydra_ray.store.schema import open_database


@pytest.fixture
def database(url):
    database = open_database(url)
    yield database
    database.close()


@pytest.fixture
def keys(database):
    return SqlKeyStore(database)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(time.time())
    monkeypatch.setattr(key_store, "time", clock)
    return clock


def make(keys, tenant="acme", scopes=("chat",), **more):
    about = {"user": None, "name": "app", "expires": None, **more}
    key, text = new_key(tenant, scopes, now=time.time(), **about)
    keys.add(key, text, "cli:me")
    return key, text


def test_a_key_is_found_by_its_text_alone(keys):
    key, text = make(keys, scopes=("chat", "users"), user="ann", expires=time.time() + 60)
    make(keys)
    assert keys.find(text) == key
    for other in (text[:-1], text + "x", key.prefix, key.id, "", "\ud800"):
        assert keys.find(other) is None


def test_the_text_is_nowhere_in_the_database(keys, tmp_path, database):
    if database.dialect != "sqlite":
        pytest.skip("reads the files of SQLite")
    key, text = make(keys)
    _, rotated = keys.rotate(None, key.id, "cli:me", 60)
    database.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.id.encode() in kept
    assert text.encode() not in kept
    assert rotated.encode() not in kept


def test_a_rotated_key_is_the_same_key_with_another_text(keys):
    key, text = make(keys, scopes=("chat",), user="ann")
    rotated, new_text = keys.rotate("acme", key.id, "cli:me", 0)
    assert keys.find(text) is None
    assert keys.find(new_text) == rotated
    assert (rotated.id, rotated.user, rotated.scopes) == (key.id, "ann", key.scopes)
    assert new_text.startswith(rotated.prefix)


def test_the_former_text_holds_for_its_grace(keys, clock):
    key, text = make(keys)
    _, new_text = keys.rotate(None, key.id, "cli:me", 60)
    clock.now += 59
    assert keys.find(text).id == keys.find(new_text).id == key.id
    clock.now += 2
    assert keys.find(text) is None
    assert keys.find(new_text).id == key.id


def test_a_revoked_key_holds_no_longer_nor_does_its_former_text(keys):
    key, text = make(keys)
    _, new_text = keys.rotate(None, key.id, "cli:me", 3600)
    revoked = keys.revoke(None, key.id, "cli:me")
    assert revoked.revoked is not None
    assert not revoked.holds(key.created)
    assert keys.find(text) is None
    assert keys.find(new_text) == revoked
    assert keys.revoke(None, key.id, "cli:me") == revoked
    with pytest.raises(HydraError, match="no longer holds"):
        keys.rotate(None, key.id, "cli:me", 0)


@pytest.mark.parametrize("work", ["get", "revoke", "rotate"])
def test_a_tenant_reaches_its_own_keys_only(keys, work):
    key, text = make(keys)
    more = {"get": (), "revoke": ("me",), "rotate": ("me", 0)}[work]
    with pytest.raises(KeyNotFoundError):
        getattr(keys, work)("zeta", key.id, *more)
    assert keys.find(text) == keys.get("acme", key.id) == key
    assert keys.keys("zeta") == []
    assert keys.keys("acme") == keys.keys(None) == [key]


def test_every_change_is_in_the_audit_log_without_the_key(keys, database):
    key, text = make(keys, user="ann")
    _, rotated = keys.rotate("acme", key.id, "key_1", 60)
    keys.revoke("acme", key.id, "key_2")
    entries = list(AuditLog(database).entries())
    assert [(e.tenant, e.actor, e.action, e.target) for e in entries] == [
        ("acme", "cli:me", "key.create", key.id),
        ("acme", "key_1", "key.rotate", key.id),
        ("acme", "key_2", "key.revoke", key.id),
    ]
    assert entries[0].detail["scopes"] == ["chat"]
    assert not any(secret in entry.as_json() for entry in entries for secret in (text, rotated))
