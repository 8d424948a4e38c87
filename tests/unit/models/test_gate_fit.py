"""Gates fitted on simulated users: what they let through, what that costs, and when they know too little."""

import numpy as np
import pytest

from hydra_ray.models.gate_fit import GateRow, fit_gate
from hydra_ray.records import UserKey

NAMES = ("kind", "expected", "chance")
CAUTION, LEAST_USERS = 0.9, 4


def simulated(seed, *, users=100, each=4, gain=0.0, slope=0.0, kind=0.0, user_spread=0.0, noise=0.4):
    """Rows of users with gains of their own, and the gain that each row can truly be expected to have."""
    chance = np.random.default_rng(seed)
    rows, truth = [], []
    for user in range(users):
        own = chance.normal(0, user_spread)
        for _ in range(each):
            is_kind, expected = float(chance.random() < 0.5), chance.normal()
            true = gain + own + slope * expected + kind * (2 * is_kind - 1)
            features = (is_kind, expected, chance.normal())
            rows.append(GateRow(UserKey("acme", str(user)), true + chance.normal(0, noise), features))
            truth.append(true)
    return rows, np.array(truth)


def fitted(rows, among=0):
    return fit_gate(rows, "vote", NAMES, caution=CAUTION, least_users=LEAST_USERS, among=among)


def outcome(gate, rows, truth):
    """Share that passes, mean true gain with and without the gate, and share of users made worse."""
    passes = np.array([gate.passes(gate.expected(row.features)) for row in rows])
    of_user = np.array([int(row.user.user) for row in rows])
    by_user = np.bincount(of_user, truth * passes)
    return passes.mean(), (truth * passes).mean(), truth.mean(), (by_user < -1e-9).mean()


def over_worlds(count=12, **world):
    found = [
        outcome(fitted(simulated(seed, **world)[0]), *simulated(1000 + seed, **{**world, "users": 200}))
        for seed in range(count)
    ]
    return np.mean(found, axis=0)


@pytest.mark.parametrize("users", [8, 24, 100])
def test_what_is_worse_for_everybody_is_let_through_for_next_to_nobody(users):
    passes, gain, ungated, worse = over_worlds(users=users, gain=-0.05, user_spread=0.1)
    assert ungated < -0.03
    assert passes < 0.02
    assert worse < 0.02
    assert gain > -0.002


def test_a_kind_of_request_that_loses_is_kept_out_and_the_other_one_passes():
    rows, _ = simulated(3, users=200, kind=0.2)
    gate = fitted(rows)
    assert gate.passes(gate.expected((1.0, 0.0, 0.0)))
    assert not gate.passes(gate.expected((0.0, 0.0, 0.0)))
    passes, gain, ungated, worse = over_worlds(users=200, kind=0.2)
    assert abs(ungated) < 0.02
    assert gain > 0.08
    assert worse < 0.02
    assert 0.4 < passes < 0.6


@pytest.mark.parametrize("users", [8, 24, 100])
@pytest.mark.parametrize("user_spread", [0.05, 0.1])
def test_where_nothing_is_gained_on_average_few_users_are_made_worse(user_spread, users):
    _, _, _, worse = over_worlds(users=users, user_spread=user_spread)
    assert worse < 1 - CAUTION


def test_caution_costs_under_a_twentieth_of_a_gain_that_is_real():
    _, gain, ungated, worse = over_worlds(gain=0.2, slope=0.1, user_spread=0.1)
    assert gain > 0.95 * ungated
    assert worse < 1 - CAUTION


@pytest.mark.parametrize("users", [8, 19])
def test_a_gain_that_is_large_and_sure_opens_the_gate_for_few_users_too(users):
    _, gain, ungated, worse = over_worlds(users=users, gain=0.4, user_spread=0.1)
    assert gain > 0.9 * ungated
    assert worse < 0.02


def test_many_queries_of_few_users_do_not_count_as_many_users():
    # Users differ by much and gain nothing on average: by their mean alone half of them would seem to win.
    few = [fitted(simulated(seed, users=24, each=40, user_spread=0.3, noise=0.1)[0]) for seed in range(20)]
    sure = [gate.covariance[0, 0] ** 0.5 for gate in few]
    # The standard error of 24 users' mean; as 960 rows on their own it would be a sixth of that.
    assert np.mean(sure) == pytest.approx(0.3 / 24**0.5, rel=0.25)
    assert np.mean([gate.user_variance**0.5 for gate in few]) == pytest.approx(0.3, rel=0.25)
    lets = [outcome(gate, *simulated(500 + seed, user_spread=0.3))[0] for seed, gate in enumerate(few)]
    assert np.mean(lets) < 0.1


def test_three_users_tell_nothing_whatever_they_gain():
    gate = fitted(simulated(0, users=3, each=20, gain=0.5)[0])
    assert gate.is_closed
    assert gate.users == 3
    assert not gate.passes(gate.expected((1.0, 9.0, 0.0)))


def test_users_who_gain_the_same_are_not_all_there_are():
    # Without a prior on their spread four equal gains would leave no doubt.
    rows = [GateRow(UserKey("acme", str(user)), 1.0, (0.0, 0.0, 0.0)) for user in range(4)]
    gain = fitted(rows).expected((0.0, 0.0, 0.0))
    assert gain.mean == pytest.approx(1)
    assert 0 < gain.low < 0.75


def test_whoever_is_answered_alike_counts_as_not_made_worse():
    # Half of those who differ may lose; they are a twentieth of all.
    rows, _ = simulated(7, users=20, each=6, gain=0.15, user_spread=0.2, noise=0.1)
    alone, among_many = fitted(rows), fitted(rows, among=400)
    passing = [np.mean([gate.passes(gate.expected(row.features)) for row in rows]) for gate in (alone, among_many)]
    assert passing[0] < 0.6
    assert passing[1] > 0.9


def test_a_feature_that_never_differs_changes_nothing():
    rows = [GateRow(row.user, row.gain, (1.0, *row.features[1:])) for row in simulated(2, gain=0.2)[0]]
    gate = fitted(rows)
    assert gate.expected((1.0, 0.3, 0.0)) == gate.expected((0.0, 0.3, 0.0))


def test_choices_that_all_score_as_the_plain_answers_do_leave_it_closed():
    rows = [GateRow(row.user, 0.0, row.features) for row in simulated(2)[0]]
    assert fitted(rows).is_closed


def test_where_everybody_gains_everything_passes():
    rows, truth = simulated(5, gain=0.5, noise=0.1)
    assert outcome(fitted(rows), rows, truth)[0] == 1
