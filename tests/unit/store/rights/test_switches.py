"""The switch of personalisation in the store: of a tenant, of all, and who turned it."""

import pytest

from hydra_ray.store.audit import AuditLog
from hydra_ray.store.rights.switches import ALL_TENANTS, Switches
from hydra_ray.store.schema import open_database


@pytest.fixture
def database(sqlite_url):
    database = open_database(sqlite_url)
    yield database
    database.close()


def test_everybody_is_personalised_until_somebody_switches_it_off(database):
    switches = Switches(database)
    assert switches.state().is_on("acme")
    switches.turn("acme", False, "cli:me")
    assert [switches.state().is_on(name) for name in ("acme", "zeta")] == [False, True]
    switches.turn(ALL_TENANTS, False, "cli:me")
    switches.turn("acme", True, "key_1")
    assert [switches.state().is_on(name) for name in ("acme", "zeta")] == [False, False]
    switches.turn(ALL_TENANTS, True, "cli:me")
    assert [switches.state().is_on(name) for name in ("acme", "zeta")] == [True, True]


def test_switching_off_again_keeps_since_when_it_is_off(database):
    switches = Switches(database)
    switches.turn("acme", False, "cli:me")
    since = switches.state().off["acme"]
    switches.turn("acme", False, "cli:you")
    assert switches.state().off == {"acme": since}


def test_who_turned_it_is_in_the_audit_log(database):
    switches = Switches(database)
    switches.turn(ALL_TENANTS, False, "cli:me")
    switches.turn("acme", True, "key_1")
    noted = [(entry.tenant, entry.actor, entry.action) for entry in AuditLog(database).entries()]
    assert noted == [("", "cli:me", "personalisation.off"), ("acme", "key_1", "personalisation.on")]
