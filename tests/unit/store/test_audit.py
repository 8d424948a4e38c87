"""The audit log: entries in the order in which things were done, as lines of JSON."""

import json

import pytest
from clocks import Clock

from hydra_ray.store import audit
from hydra_ray.store.audit import AuditLog
from hydra_ray.store.schema import open_database


@pytest.fixture
def log(url):
    database = open_database(url)
    yield AuditLog(database)
    database.close()


def test_entries_are_read_as_they_were_recorded(log, monkeypatch):
    monkeypatch.setattr(audit, "time", Clock(86_400.0))
    log.record("acme", "key_1", "user.delete", "ann", {"rows": 3})
    log.record("", "cli:me", "model.promote", "v2")
    first, second = log.entries()
    assert json.loads(first.as_json()) == {
        "id": 1,
        "at": "1970-01-02T00:00:00.000+00:00",
        "tenant": "acme",
        "actor": "key_1",
        "action": "user.delete",
        "target": "ann",
        "detail": {"rows": 3},
    }
    assert (second.tenant, second.action, second.detail) == ("", "model.promote", {})


def test_entries_since_a_moment(log, monkeypatch):
    clock = Clock(100.0)
    monkeypatch.setattr(audit, "time", clock)
    for target in "abc":
        log.record("acme", "me", "item.delete", target)
        clock.now += 1
    assert [entry.target for entry in log.entries(since=101.0)] == ["b", "c"]


def test_a_long_log_is_read_whole(log, monkeypatch):
    monkeypatch.setattr(audit, "_ROWS_AT_ONCE", 3)
    for number in range(8):
        log.record("acme", "me", "item.delete", str(number))
    assert [entry.target for entry in log.entries()] == [str(number) for number in range(8)]


def test_who_runs_a_command_is_named_even_where_nobody_has_a_name(monkeypatch):
    def nameless():
        raise KeyError("uid")

    assert audit.this_person().startswith("cli:")
    monkeypatch.setattr(audit.getpass, "getuser", nameless)
    assert audit.this_person() == "cli:unknown"
