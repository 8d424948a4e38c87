import numpy as np
import pytest

from hydra_ray.evaluate.scoring.empirical_bayes import chances_of_loss


def made_gains(mean: float, between: float, users: int = 400, queries: int = 5, seed: int = 0):
    """Users' true mean gains, and what is seen of them at some queries with noise of 0.5."""
    rng = np.random.default_rng(seed)
    true = rng.normal(mean, between, users)
    return true, [own + rng.normal(0, 0.5, queries) for own in true]


@pytest.mark.parametrize(("mean", "between"), [(0.1, 0.2), (0.2, 0.1), (-0.1, 0.2)])
def test_the_expected_share_of_losers_is_the_true_one_where_signs_alone_are_not(mean, between):
    true, gains = made_gains(mean, between, users=4000)
    chances = chances_of_loss(gains)
    losers, by_sign = np.mean(true < 0), np.mean([own.mean() < 0 for own in gains])
    assert chances.mean() == pytest.approx(losers, abs=0.02)
    assert abs(chances.mean() - losers) < abs(by_sign - losers)


def test_users_of_whom_it_is_sure_do_lose():
    true, gains = made_gains(-0.2, 0.4, users=2000)
    sure = chances_of_loss(gains) >= 0.95
    assert sure.sum() > 100
    assert np.mean(true[sure] < 0) >= 0.95


def test_more_queries_of_the_same_mean_say_more():
    few, many = np.array([-1.0, 0.0]), np.array([-1.0, 0.0] * 20)
    others = [np.array([0.5, 1.5]), np.array([1.0, 2.0]), np.array([2.0, 3.0])]
    chances = chances_of_loss([few, many, *others])
    assert chances[1] > chances[0] > chances[2]


def test_one_query_a_user_does_not_tell_users_apart():
    chances = chances_of_loss([np.array([gain]) for gain in (-1.0, 1.0, 2.0, 2.0)])
    assert len(set(chances.round(12))) == 1
    assert 0 < chances[0] < 0.5


def test_gains_without_noise_are_taken_as_they_are():
    assert chances_of_loss([np.array([-1.0, -1.0]), np.array([0.0]), np.array([1.0, 1.0])]).tolist() == [1, 0, 0]


def test_nobody_has_no_chances():
    assert chances_of_loss([]).tolist() == []
