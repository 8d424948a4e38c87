"""Users are looked at from time to time, less often where nothing is missing, and soon once somebody told something."""

import pytest
from clocks import Clock

from hydra_ray.records import UserKey
from hydra_ray.serve.encodings.rounds import Rounds


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def rounds(clock):
    return Rounds(60.0, clock.monotonic)


def ends(rounds, clock, found=False):
    """A round that ends; returns how long the next one rests."""
    clock.now += rounds.left_s()
    rounds.begin()
    rounds.has_found = found
    rounds.end()
    return rounds.left_s()


def test_a_round_that_found_nothing_is_followed_ever_later(rounds, clock):
    assert rounds.left_s() == 60
    assert [ends(rounds, clock) for _ in range(6)] == [120, 240, 480, 960, 1_800, 1_800]
    assert ends(rounds, clock, found=True) == 60


def test_who_tells_something_has_the_next_round_begin_soon(rounds, clock):
    for _ in range(4):
        ends(rounds, clock)
    rounds.hurry()
    assert rounds.left_s() == 60
    clock.now += 50
    # It does not begin ever later the more they tell.
    rounds.hurry()
    assert rounds.left_s() == 10


def test_within_a_round_looks_follow_each_other(rounds, clock):
    ends(rounds, clock)
    clock.now += rounds.left_s()
    rounds.begin()
    rounds.after = UserKey("acme", "ann")
    assert rounds.left_s() == 60
    rounds.end()
    assert (rounds.after, rounds.left_s()) == (None, 240)
