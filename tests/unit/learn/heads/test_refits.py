"""Heads that are due are fitted again, once each, no more a minute than said, and again after a failure."""

import logging

import pytest
from clocks import Clock

from hydra_ray.learn.heads import refits as refits_module
from hydra_ray.learn.heads.refits import Refits
from hydra_ray.records import UserKey

KEYS = [UserKey("acme", name) for name in "abcdef"]


class Store:
    """What is new by user; a fit takes it up."""

    def __init__(self):
        self.new, self.fitted, self.broken, self.talking, self.failed = {}, [], False, set(), []
        self.unwanted, self.poisoned, self.meanwhile = set(), set(), lambda: None

    def of(self, key, version, role):
        return self.new.get(key, 0)

    def due(self, version, role, least):
        return sorted(key for key, number in self.new.items() if number >= least)

    def refit(self, version, keys):
        if self.broken or self.poisoned & set(keys):
            raise RuntimeError("out of memory")
        self.fitted.append((version, list(keys)))
        for key in keys:
            self.new[key] = 0
        self.meanwhile()
        return self.talking


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def refits(store, clock):
    return Refits(
        store,
        lambda key: key not in store.unwanted,
        store.refit,
        lambda: "v1",
        3,
        4,
        clock.monotonic,
        store.failed.append,
    )


def told(refits, store, key, number):
    store.new[key] = store.new.get(key, 0) + number
    refits.note(key)


def test_a_head_is_fitted_again_once_enough_is_new(refits, store):
    told(refits, store, KEYS[0], 2)
    assert refits.round() == []
    told(refits, store, KEYS[0], 1)
    told(refits, store, KEYS[0], 1)
    assert refits.round() == [KEYS[0]]
    assert refits.round() == []
    assert store.fitted == [("v1", [KEYS[0]])]


def test_what_was_due_before_a_restart_is_found_in_the_store(refits, store, clock):
    store.new = {KEYS[1]: 3, KEYS[2]: 2}
    assert refits.round() == [KEYS[1]]
    # So is what nobody noted.
    store.new[KEYS[2]] = 3
    assert refits.round() == []
    clock.now += refits_module._SCAN_S
    assert refits.round() == [KEYS[2]]


def test_no_more_are_fitted_a_minute_than_said(refits, store, clock):
    for key in KEYS:
        told(refits, store, key, 3)
    assert refits.round() == KEYS[:4]
    clock.now += 59
    assert refits.round() == []
    clock.now += 1
    assert refits.round() == KEYS[4:]


def test_what_fails_is_logged_counted_and_tried_again_later_and_later(refits, store, clock, caplog):
    caplog.set_level(logging.ERROR, "hydra_ray")
    store.broken = True
    told(refits, store, KEYS[0], 3)
    assert refits.round() == []
    assert "out of memory" in caplog.text
    assert refits.round() == []
    clock.now += 30
    assert refits.round() == []
    clock.now += 59
    assert refits.round() == []
    assert store.failed == [1, 1]
    store.broken = False
    # Others do not wait for it.
    told(refits, store, KEYS[1], 3)
    assert refits.round() == [KEYS[1]]
    clock.now += 1
    assert refits.round() == [KEYS[0]]


def test_who_goes_on_talking_is_looked_at_again(refits, store):
    store.talking = {KEYS[0]}
    told(refits, store, KEYS[0], 3)
    assert refits.round() == []
    store.talking, store.new[KEYS[0]] = set(), 4
    assert refits.round() == [KEYS[0]]


def test_who_does_not_want_to_be_personalised_keeps_the_head_that_is_there(refits, store):
    store.unwanted = {KEYS[0]}
    told(refits, store, KEYS[0], 3)
    told(refits, store, KEYS[1], 3)
    assert refits.round() == [KEYS[1]]
    assert store.new[KEYS[0]] == 3


def test_one_users_failure_does_not_keep_the_others_from_being_fitted(refits, store, clock):
    store.poisoned = {KEYS[1]}
    for key in KEYS[:3]:
        told(refits, store, key, 3)
    fitted = []
    for _ in range(10):
        fitted += refits.round()
        clock.now += 61
    assert sorted(fitted) == [KEYS[0], KEYS[2]]


def test_who_was_not_due_any_more_is_not_kept_waiting_for_a_failure_of_before(refits, store, clock):
    store.broken = True
    told(refits, store, KEYS[0], 3)
    assert refits.round() == []
    store.broken = False
    # What was said is deleted, and the wait is over.
    store.new[KEYS[0]] = 0
    clock.now += 61
    assert refits.round() == []
    store.broken = True
    told(refits, store, KEYS[0], 3)
    assert refits.round() == []
    store.broken = False
    # As after a first failure.
    clock.now += 31
    assert refits.round() == [KEYS[0]]


def test_what_is_said_while_heads_are_fitted_counts_afterwards(refits, store):
    told(refits, store, KEYS[0], 3)
    store.meanwhile = lambda: told(refits, store, KEYS[0], 3)
    assert refits.round() == [KEYS[0]]
    store.meanwhile = lambda: None
    assert refits.round() == [KEYS[0]]
