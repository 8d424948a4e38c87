"""The switch as a replica knows it: what it knew last holds where the store does not answer."""

import logging
from threading import Event

import pytest

from hydra_ray.serve.experiment.switch import WatchedSwitch
from hydra_ray.store.rights.switches import ALL_TENANTS, SwitchState
from hydra_ray.store.types import StoreError

NEVER_S = 3_600.0


class Switches:
    """Switches whose state a test sets; None is a store that does not answer."""

    def __init__(self, off=()):
        self.off, self.looked = off, Event()

    def state(self):
        self.looked.set()
        if self.off is None:
            raise StoreError("the database does not answer")
        return SwitchState(dict.fromkeys(self.off, 1.0))


@pytest.fixture
def watched():
    """Makes a watched switch, whose thread ends with the test."""
    made = []

    def make(switches, poll_s=NEVER_S):
        made.append(WatchedSwitch(switches, poll_s))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_it_is_looked_up_beside_requests(watched):
    switches = Switches()
    switch = watched(switches, 0.001)
    switches.off = ["acme"]
    switches.looked.clear()
    for _ in range(2):
        # The second look begins after the first one was taken up.
        assert switches.looked.wait(60)
        switches.looked.clear()
    assert [switch.is_on(name) for name in ("acme", "zeta")] == [False, True]


def test_a_store_that_does_not_answer_keeps_what_was_known(watched, caplog):
    switches = Switches([ALL_TENANTS])
    switch = watched(switches)
    with caplog.at_level(logging.WARNING):
        switches.off = None
        switch.look()
        switch.look()
        assert not switch.is_on("acme")
        switches.off = []
        switch.look()
    assert switch.is_on("acme")
    assert [
        record.message for record in caplog.records if "switch" in record.message or "on again" in record.message
    ] == [
        "the switch of personalisation cannot be looked up, and it stays as it was",
        "the switch of personalisation can be looked up again",
        "personalisation is on again for all tenants",
    ]


def test_until_it_is_known_nobody_is_personalised(watched):
    switches = Switches(None)
    switch = watched(switches)
    assert not switch.is_on("acme")
    switches.off = []
    switch.look()
    assert switch.is_on("acme")
