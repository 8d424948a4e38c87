"""The gate as it is kept and asked: whatever it was fitted on, it decides by its numbers."""

import json
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from hydra_ray.models.gate import FILE, ExpectedGain, Gate
from hydra_ray.records import HydraError


@pytest.fixture
def gate():
    """Reads two features: the first tells the gain, of the second it is unsure."""
    return Gate(
        plain="vote",
        names=("kind", "chance"),
        caution=0.9,
        users=30,
        centre=np.array([0.5, 0.0]),
        scale=np.array([0.5, 2.0]),
        least=np.array([-1.0, -2.0]),
        most=np.array([1.0, 2.0]),
        weights=np.array([0.1, 0.2, 0.0]),
        covariance=np.diag([0.01, 0.0, 0.04]),
        user_variance=0.01,
        sureness=1.5,
        by_low=False,
        bar=0.05,
    )


def test_a_gain_comes_with_its_lower_bound(gate):
    gain = gate.expected((1.0, 2.0))
    assert gain.mean == pytest.approx(0.1 + 0.2)
    assert gain.low == pytest.approx(0.3 - 1.5 * (0.01 + 0.04) ** 0.5)


def test_a_request_passes_by_the_gain_that_is_expected_of_it(gate):
    # As a single request it is not surely better; nothing is promised of a single request.
    assert gate.passes(ExpectedGain(0.06, -0.3))
    assert not gate.passes(ExpectedGain(0.04, 0.03))


def test_what_was_never_seen_counts_as_the_farthest_that_was(gate):
    assert gate.expected((50.0, 0.0)) == gate.expected((5000.0, 0.0)) == gate.expected((1.0, 0.0))


def test_it_is_read_as_it_was_written(gate, tmp_path):
    gate.save(tmp_path)
    loaded = Gate.load(tmp_path)
    assert (loaded.plain, loaded.names, loaded.caution, loaded.bar) == ("vote", ("kind", "chance"), 0.9, 0.05)
    for features in ((0.0, 0.0), (1.0, 0.0), (1.0, 3.0)):
        assert loaded.expected(features) == gate.expected(features)


def test_a_closed_one_is_json_without_infinities_and_lets_nothing_through(gate, tmp_path):
    replace(gate, bar=float("inf")).save(tmp_path)
    assert json.loads((tmp_path / FILE).read_text(), parse_constant=pytest.fail)["bar"] is None
    loaded = Gate.load(tmp_path)
    assert loaded.is_closed
    assert not loaded.passes(loaded.expected((1.0, 0.0)))


def test_a_gate_of_the_first_form_goes_on_holding_each_request_to_its_lower_bound(gate, tmp_path):
    gate.save(tmp_path)
    values = json.loads((tmp_path / FILE).read_text())
    for new in ("sureness", "by_low"):
        values.pop(new)
    (tmp_path / FILE).write_text(json.dumps({**values, "schema": "hydra-ray/gate/v1", "bar": 0.0}))
    loaded = Gate.load(tmp_path)
    sure, unsure = loaded.expected((1.0, 0.0)), loaded.expected((1.0, 4.0))
    assert sure.mean == unsure.mean == pytest.approx(0.3)
    assert unsure.low == pytest.approx(0.3 - NormalDist().inv_cdf(0.9) * (0.01 + 0.04 * 4) ** 0.5)
    assert loaded.passes(sure)
    assert not loaded.passes(unsure)


def test_a_folder_without_one_has_none(tmp_path):
    assert Gate.load(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "damaged"), ("[]", "damaged"), ('{"schema": "hydra-ray/gate/v9"}', "v9"), ('{"weights": []}', "damaged")],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(HydraError, match=rf"{FILE}.*{message}.*train again"):
        Gate.load(tmp_path)
