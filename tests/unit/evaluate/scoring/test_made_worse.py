"""Users who are made worse are told from those who were unlucky."""

import numpy as np
import pytest

from hydra_ray.evaluate.scoring.made_worse import share_made_worse


def made_gains(mean, between, within, seed, users=80, queries=3):
    """Gains of users whose own mean gain is known, and the share of them who truly lose."""
    rng = np.random.default_rng(seed)
    own = mean + between * rng.standard_normal(users)
    of_user = np.repeat(np.arange(users), queries)
    return own[of_user] + within * rng.standard_normal(users * queries), of_user, float((own < 0).mean())


def counted(gains, of_user):
    return float((np.bincount(of_user, gains) < 0).mean())


def test_where_all_gain_the_same_nobody_is_worse_though_many_were_unlucky():
    estimates, counts = [], []
    for seed in range(10):
        gains, of_user, _ = made_gains(0.3, 0.0, 1.0, seed)
        estimates.append(share_made_worse(gains, of_user))
        counts.append(counted(gains, of_user))
    assert np.mean(counts) > 0.25
    assert np.mean(estimates) < 0.06


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.3])
def test_where_users_differ_the_share_is_that_of_those_who_truly_lose(mean):
    found = [made_gains(mean, 0.6, 0.6, seed) for seed in range(10)]
    estimates = [share_made_worse(gains, of_user) for gains, of_user, _ in found]
    assert np.mean(estimates) == pytest.approx(np.mean([true for *_, true in found]), abs=0.04)


def test_who_gets_the_same_answers_is_not_worse():
    gains, of_user, _ = made_gains(-1.0, 0.0, 0.5, seed=0, users=10)
    assert share_made_worse(gains, of_user) == pytest.approx(1, abs=0.01)
    # Twice as many users, the new ones without any difference.
    more = np.concatenate([gains, np.full(30, np.nan)])
    assert share_made_worse(more, np.repeat(np.arange(20), 3)) == pytest.approx(0.5, abs=0.01)
    assert share_made_worse(np.full(3, np.nan), np.arange(3)) == 0


def test_one_answer_that_differs_is_taken_at_its_word():
    assert share_made_worse(np.array([-1.0, np.nan]), np.array([0, 1])) == 0.5
    assert share_made_worse(np.array([1.0, np.nan]), np.array([0, 1])) == 0
