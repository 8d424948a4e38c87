"""Student's t distribution against its tables."""

import numpy as np
import pytest

from hydra_ray.models.student import StudentT


@pytest.mark.parametrize(
    ("degrees", "nine_tenths", "below_one"), [(1, 3.078, 0.75), (3, 1.638, 0.8045), (18, 1.330, 0.8347)]
)
def test_students_t_is_as_in_tables(degrees, nine_tenths, below_one):
    students = StudentT(degrees)
    assert students.quantile(0.9) == pytest.approx(nine_tenths, abs=2e-3)
    assert students.cdf(np.array([1.0, -1.0])) == pytest.approx([below_one, 1 - below_one], abs=1e-3)
    assert students.quantile(0.5) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("degrees", [1000, 100_000])
def test_of_many_users_it_is_the_normal_distribution(degrees):
    assert StudentT(degrees).quantile(0.9) == pytest.approx(1.2816, abs=3e-3)
