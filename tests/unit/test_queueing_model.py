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


def path(model, cpu_s, delay_s=0.0, beside_s=0.0):
    return model.Path((model.Visit("step", cpu_s),), (), delay_s, beside_s)


def test_nobody_waits_where_nobody_else_is(model):
    here = model.Machine(2, {})
    assert mean(model.simulate(path(model, 0.02, delay_s=0.1), here, 0.01, 50)) == pytest.approx(0.12)


@pytest.mark.parametrize(("cores", "rate"), [(1, 30), (2, 70)])
def test_cores_that_are_shared_make_wait_as_the_formula_says(model, monkeypatch, cores, rate):
    """Work of always the same length waits half as long as M/M/c has it where each ends before the next begins."""
    here = model.Machine(cores, {"step": 1_000})
    monkeypatch.setattr(model, "_SLICE_S", 1.0)
    taken = mean(model.simulate(path(model, 0.02), here, rate, 20_000))
    assert taken == pytest.approx(0.02 * (1 + waiting(cores, rate * 0.02) / 2), rel=0.05)


def test_one_interpreter_works_one_request_at_a_time(model):
    one, many = (
        mean(model.simulate(path(model, 0.02), model.Machine(8, {"step": count}), 40, 4_000)) for count in (1, 8)
    )
    assert many == pytest.approx(0.02, rel=0.01)
    assert one == pytest.approx(0.02 * (1 + waiting(1, 0.8) / 2), rel=0.1)


def test_what_is_worked_beside_takes_cores_from_the_path(model):
    here = model.Machine(1, {})
    alone, beside = (mean(model.simulate(path(model, 0.01, beside_s=b), here, 30, 2_000)) for b in (0.0, 0.015))
    assert beside > 1.2 * alone


def test_the_delay_is_what_is_left_of_what_was_measured(model):
    here = model.Machine(1, {})
    found = model.with_delay(path(model, 0.01), here, 20, 0.2, 2_000)
    assert mean(model.simulate(found, here, 20, 2_000)) == pytest.approx(0.2)
    assert model.with_delay(path(model, 0.01), here, 20, 0.001, 2_000).delay_s == 0
