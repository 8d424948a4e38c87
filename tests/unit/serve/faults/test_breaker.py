"""A breaker opens after failures in a row, lets one request try, and closes when that was answered."""

import pickle

import pytest
from clocks import Clock

from hydra_ray.serve.faults import breaker as module
from hydra_ray.serve.faults.breaker import Breaker, Breakers, UnavailableError
from hydra_ray.serve.faults.deadline import DeadlineError


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_only_failures_in_a_row_open_it(clock):
    breaker = Breaker("reranker", failures=3, open_s=10)
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert (breaker.state, breaker.admits()) == ("closed", True)
    for _ in range(3):
        breaker.failed()
    assert (breaker.state, breaker.admits(), breaker.waits_s) == ("open", False, 10)


def test_half_open_one_request_tries_and_the_others_wait_for_what_it_finds(clock, caplog):
    breaker = Breaker("reranker", failures=1, open_s=10)
    breaker.failed()
    clock.now += 10
    assert breaker.state == "half-open"
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    breaker.failed()
    clock.now += 9
    assert not breaker.admits()
    clock.now += 1
    assert breaker.admits()
    breaker.succeeded()
    assert (breaker.state, breaker.admits(), breaker.waits_s) == ("closed", True, 0)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "the reranker failed 1 times in a row: it is not asked for 10 s",
        "the reranker answers again",
    ]


def test_one_who_tries_and_goes_away_leaves_the_next_try_to_another(clock):
    breaker = Breaker("reranker", failures=1, open_s=10)
    breaker.failed()
    clock.now += 10
    assert breaker.admits()
    clock.now += 10
    assert breaker.admits()


def test_each_step_has_a_breaker_of_its_own(clock):
    breakers = Breakers(failures=1, open_s=10)
    breakers.of("reranker").failed()
    assert breakers.of("adapter").admits()
    assert breakers.states() == {"reranker": "open", "adapter": "closed"}


def test_what_answered_lately_is_known(clock):
    breaker = Breaker("generator", failures=1, open_s=10)
    assert not breaker.answered_within(30)
    breaker.succeeded()
    clock.now += 30
    assert breaker.answered_within(30)
    assert not breaker.answered_within(29)


def test_errors_stay_what_they_are_between_rays_processes():
    away = pickle.loads(pickle.dumps(UnavailableError("not now", 7.5)))
    late = pickle.loads(pickle.dumps(DeadlineError("too late")))
    assert (str(away), away.kind, away.transient, away.retry_after_s) == ("not now", "unavailable", True, 7.5)
    assert (str(late), late.kind, late.transient) == ("too late", "deadline", False)
