"""The simulated queues against what is known of queues."""

import importlib
from pathlib import Path
from statistics import mean

import pytest

from hydra_ray.k8s.sizing import waiting

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("queueing_model")


@pytest.fixture
def poisson(model):
    return importlib.import_module("open_loop").poisson


def path(model, cpu_s, delay_s=0.0, beside_s=0.0):
    return model.Path((model.Visit("step", cpu_s),), (), delay_s, beside_s)


def test_nobody_waits_where_nobody_else_is(model):
    here = model.Machine(2, {})
    assert model.simulate(path(model, 0.02, delay_s=0.1), here, [0, 1, 2]) == pytest.approx([0.12] * 3)


@pytest.mark.parametrize(("cores", "rate"), [(1, 30), (2, 70)])
def test_cores_that_are_shared_make_wait_as_the_formula_says(model, poisson, monkeypatch, cores, rate):
    """Work of always the same length waits half as long as M/M/c has it where each ends before the next begins."""
    here = model.Machine(cores, {"step": 1_000})
    monkeypatch.setattr(model, "_SLICE_S", 1.0)
    taken = mean(model.simulate(path(model, 0.02), here, poisson(rate, 20_000 / rate, 0)))
    assert taken == pytest.approx(0.02 * (1 + waiting(cores, rate * 0.02) / 2), rel=0.05)


def test_one_interpreter_works_one_request_at_a_time(model, poisson):
    one, many = (
        mean(model.simulate(path(model, 0.02), model.Machine(8, {"step": count}), poisson(40, 250, 0)))
        for count in (1, 8)
    )
    assert many == pytest.approx(0.02, rel=0.01)
    assert one == pytest.approx(0.02 * (1 + waiting(1, 0.8) / 2), rel=0.1)


def test_what_is_worked_beside_takes_cores_from_the_path(model, poisson):
    here = model.Machine(1, {})
    times = poisson(30, 60, 0)
    alone, beside = (mean(model.simulate(path(model, 0.01, beside_s=b), here, times)) for b in (0.0, 0.015))
    assert beside > 1.2 * alone


def test_what_is_worked_while_nobody_asks_takes_cores_from_the_path(model, poisson):
    times = poisson(30, 60, 0)
    alone, busy = (mean(model.simulate(path(model, 0.02), model.Machine(1, {}, idle), times)) for idle in (0.0, 0.25))
    # A core of which three quarters are left works as long as one that is as much slower, at the least.
    assert busy > 1.25 * alone


def test_the_delay_is_what_is_left_of_what_was_measured(model, poisson):
    here = model.Machine(1, {})
    times = poisson(20, 100, 0)
    found = model.with_delay(path(model, 0.01), here, times, 0.2)
    assert mean(model.simulate(found, here, times)) == pytest.approx(0.2)
    assert model.with_delay(path(model, 0.01), here, times, 0.001).delay_s == 0
