import math

import pytest

from hydra_ray.experiment.sequential import always_valid_p, half_width


@pytest.mark.parametrize("variance", [1e-6, 1e-3, 0.1])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_zero_leaves_the_sequence_exactly_where_p_is_the_level(variance, alpha):
    width = half_width(variance, 0.04, alpha)
    assert always_valid_p(width, variance, 0.04) == pytest.approx(alpha)
    assert always_valid_p(0.99 * width, variance, 0.04) > alpha


def test_the_half_width_is_that_of_the_paper():
    # Theorem 2.2 with t = 400 observations of variance 0.25 and rho = 0.2.
    t, rho, deviation, alpha = 400, 0.2, 0.5, 0.05
    paper = deviation * math.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / alpha))
    assert half_width(deviation**2 / t, rho * deviation, alpha) == pytest.approx(paper)


def test_nothing_is_known_without_a_variance_or_an_effect_that_matters():
    assert always_valid_p(3.0, 0.0, 0.1) == always_valid_p(3.0, 0.1, 0.0) == 1
    assert half_width(0.0, 0.1, 0.05) == half_width(0.1, 0.0, 0.05) == math.inf


def test_overwhelming_data_overflow_nothing():
    assert always_valid_p(1e6, 1e-9, 1.0) == 0
