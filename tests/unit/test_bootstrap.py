import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.bootstrap import (
    Bootstrap,
    Interval,
    holm,
    interval,
    paired_difference,
    relative_improvement,
    two_sided_p,
)


def mean_values(items, users, resamples=1000, seed=0):
    """Bootstrap values of the mean, the data's own first."""
    statistics = np.column_stack([np.ones(len(items)), items])
    sums = Bootstrap(users, resamples, seed).sums(statistics)
    return sums[:, 1] / sums[:, 0]


def width(found: Interval) -> float:
    return found.high - found.low


def test_the_first_value_is_that_of_the_data_itself():
    assert mean_values([1.0, 2.0, 6.0], ["a", "b", "a"])[0] == 3


def test_a_resample_takes_all_items_of_the_users_it_draws():
    # Two users: a resample has both (mean 2.5 of 4 items), or one of them twice.
    values = mean_values([1.0, 3.0, 3.0, 3.0], ["a", "b", "b", "b"])

    assert set(values[1:]) == {1.0, 2.5, 3.0}


def test_an_interval_cuts_the_same_number_off_both_ends():
    values = np.array([50.0, *range(100)])

    assert interval(values, n=7) == Interval(value=50, low=2, high=97, n=7)


def test_an_interval_may_have_no_end():
    assert interval(np.array([1.0, *[0.5] * 60, *[math.inf] * 40]), n=1) == Interval(1, 0.5, math.inf, 1)


def test_same_seed_same_resamples():
    items, users = np.arange(20.0), list(range(20))

    assert (mean_values(items, users, seed=1) == mean_values(items, users, seed=1)).all()
    assert (mean_values(items, users, seed=1) != mean_values(items, users, seed=2)).any()


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 5)
    covered = 0
    for sample in range(300):
        # True mean 0; items of a user share a shift of the same size as their own noise.
        items = rng.normal(size=40)[users] + rng.normal(size=200)
        found = interval(mean_values(items, users, resamples=400, seed=sample), len(items))
        covered += found.low <= 0 <= found.high

    assert 0.90 <= covered / 300 <= 0.98


def test_copies_of_an_item_do_not_make_the_interval_narrower():
    rng = np.random.default_rng(0)
    items = rng.normal(size=50).repeat(10)
    users = np.arange(50).repeat(10)

    over_users = interval(mean_values(items, users), 500)
    over_items = interval(mean_values(items, np.arange(500)), 500)

    # Ten copies of everything look like ten times the data: sqrt(10) times too narrow.
    assert width(over_users) / width(over_items) == pytest.approx(10**0.5, rel=0.15)
    assert width(over_users) == pytest.approx(width(interval(mean_values(items[::10], np.arange(50)), 50)))


def test_a_paired_difference_is_surer_than_two_intervals_apart():
    rng = np.random.default_rng(0)
    users = np.arange(200)
    hard = rng.normal(size=200)
    first, second = (mean_values(hard + rng.normal(0.1 * better, 0.1, 200), users) for better in (1, 0))

    difference = paired_difference(first, second, 200)

    assert difference.low > 0
    assert interval(second, 200).high > interval(first, 200).low
    assert difference.value == pytest.approx(first[0] - second[0])


def test_a_lower_error_is_a_positive_difference():
    errors, worse = np.array([1.0, 1.0, 1.0]), np.array([3.0, 3.0, 3.0])

    assert paired_difference(errors, worse, 5, higher_is_better=False) == Interval(2, 2, 2, 5)


@pytest.mark.parametrize(
    ("hydra", "baseline", "higher_is_better", "relative"),
    [
        (0.6, 0.5, True, 0.2),
        (0.4, 0.5, True, -0.2),
        (0.4, 0.5, False, 0.2),
        (0.1, 0.0, True, math.inf),
        (0.1, 0.0, False, -math.inf),
        (0.0, 0.0, True, 0.0),
    ],
)
def test_relative_improvement(hydra, baseline, higher_is_better, relative):
    assert relative_improvement(hydra, baseline, higher_is_better) == pytest.approx(relative)


def test_relative_improvement_goes_row_by_row():
    assert relative_improvement([0.6, 0.4], [0.5, 0.2]) == pytest.approx([0.2, 1.0])


def test_sums_by_user_are_in_the_order_of_first_occurrence():
    bootstrap = Bootstrap(["b", "a", "b"], resamples=5, seed=0)

    by_user = bootstrap.by_user(np.array([[1.0, 10.0], [1.0, 20.0], [1.0, 30.0]]))

    assert by_user.tolist() == [[2, 40], [1, 20]]
    assert bootstrap.resampled(by_user)[0].tolist() == [3, 60]


def test_resamples_that_are_no_number_say_nothing():
    values = np.array([50.0, *range(100), *[math.nan] * 900])

    assert interval(values, n=7) == Interval(value=50, low=2, high=97, n=7)
    assert interval(np.array([0.5, math.nan]), n=7) == Interval(0.5, -math.inf, math.inf, 7)


@pytest.mark.parametrize(
    ("resampled", "p"),
    [
        ([1.0] * 99, 2 * 1 / 100),
        ([-1.0] * 99, 2 * 1 / 100),
        ([1.0] * 90 + [-1.0] * 9, 2 * 10 / 100),
        # Resamples without a difference speak for neither side.
        ([1.0] * 90 + [0.0] * 9, 2 * 10 / 100),
        ([1.0] * 50 + [-1.0] * 49, 1.0),
        ([0.0] * 99, 1.0),
    ],
)
def test_p_is_twice_the_share_of_resamples_on_the_other_side(resampled, p):
    assert two_sided_p(np.array([0.5, *resampled])) == pytest.approx(p)


def test_holm_by_hand():
    # Ascending 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04; none may be below one before it.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_stays_a_probability_and_leaves_a_single_comparison_alone():
    assert holm([0.7, 0.6]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_corrects_upwards_less_than_bonferroni_and_keeps_the_order(p_values):
    corrected = holm(p_values)

    for one, more in zip(p_values, corrected, strict=True):
        assert one <= more <= min(1, len(p_values) * one) + 1e-12
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    assert [corrected[place] for place in order] == sorted(corrected)
