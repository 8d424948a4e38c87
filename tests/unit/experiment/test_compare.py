"""Arms compared: what is known of simulated users is found at the rates that are promised."""

import math
import sys

import numpy as np
import pytest
from simulated_experiment import first, simulate

from hydra_ray.experiment import MEASURES, Observed, compare
from hydra_ray.experiment.compare import LEAST_USERS, always_valid

ACCEPTED = next(one for one in MEASURES if one.name == "accepted")


def only(found):
    (one,) = found
    return one


def compared(observed, effect=0.1, resamples=300):
    return only(compare(observed, "holdout", effect, resamples, 0)[1])


@pytest.mark.parametrize("by", ["user", "request"])
def test_intervals_cover_a_known_effect_at_their_nominal_rate(by):
    rng = np.random.default_rng(5)
    found = [compared(simulate(rng, 240, 0.08, by=by)) for _ in range(300)]
    covered = np.mean([one.difference.low <= 0.08 <= one.difference.high for one in found])
    # Of 300 at 95 %, 99.9 % lie within 0.95 +- 0.041.
    assert 0.909 <= covered <= 0.991
    # A sequence that holds at all looks covers more often than an interval that holds at one.
    assert np.mean([one.low <= 0.08 <= one.high for one in found]) >= 0.98


def test_intervals_by_completion_would_be_too_narrow():
    rng = np.random.default_rng(6)
    covered = []
    for _ in range(80):
        observed = simulate(rng, 160, 0.0, spread=0.3, requests=10)
        apart = Observed(np.arange(len(observed)), observed.arms, observed.propensities, observed.values)
        one = compared(apart, resamples=100)
        covered.append(one.difference.low <= 0 <= one.difference.high)
    assert np.mean(covered) < 0.85


@pytest.mark.parametrize(("by", "spread", "requests"), [("user", 0.25, 10), ("user", 0.0, 2), ("request", 0.15, 6)])
def test_no_effect_that_is_watched_all_the_time_is_called_one_at_most_at_the_level(by, spread, requests):
    rng = np.random.default_rng(7)
    called, peeked = 0, 0
    for _ in range(200):
        observed = simulate(rng, 300, 0.0, spread=spread, requests=requests, by=by)
        looks = [
            always_valid(first(observed, count), ACCEPTED, "new", "holdout", 0.2)
            for count in np.linspace(len(observed) / 10, len(observed), 25).astype(int)
        ]
        called += any(one.p < 0.05 for one in looks)
        peeked += any(_usual_p(one) < 0.05 for one in looks if not one.too_little)
    assert called <= 0.05 * 200
    # An interval for one look, watched as often, calls it far more often.
    assert peeked > 0.1 * 200


def _usual_p(one):
    return math.erfc(abs(one.difference.value) / one.standard_error / math.sqrt(2))


def test_an_effect_is_found_while_it_is_watched():
    rng = np.random.default_rng(8)
    found = [compared(simulate(rng, 600, 0.12), resamples=10) for _ in range(60)]
    assert np.mean([one.p < 0.05 and one.difference.value > 0 for one in found]) > 0.8


def test_shares_that_were_changed_meanwhile_do_not_look_like_an_effect():
    # On the second day everybody accepts more, and the arm has a larger share: it would seem better for it.
    rng = np.random.default_rng(9)
    days = [simulate(rng, 4000, 0.0, baseline=0.3, share=0.1), simulate(rng, 4000, 0.0, baseline=0.7, share=0.6)]
    both = Observed(
        np.concatenate([days[0].users, 4000 + days[1].users]),
        np.concatenate([one.arms for one in days]),
        np.concatenate([one.propensities for one in days]),
        {"accepted": np.concatenate([one.values["accepted"] for one in days])},
    )
    weighted = compared(both, resamples=100)
    assert weighted.difference.low <= 0 <= weighted.difference.high
    unweighted = Observed(both.users, both.arms, np.ones(len(both)), both.values)
    assert compared(unweighted, resamples=100).difference.low > 0.05


def test_figures_of_an_arm_are_means_over_the_completions_that_have_a_number():
    observed = Observed(
        np.array([7, 7, 8, 9]),
        np.array(["holdout", "holdout", "holdout", "new"]),
        np.array([0.5, 0.5, 0.5, 0.5]),
        {"accepted": np.array([1.0, 0.0, 0.0, 1.0]), "edit_distance": np.array([np.nan, 0.25, 0.75, np.nan])},
    )
    holdout, new = compare(observed, "holdout", 0.1, 50, 0)[0]
    assert (holdout.arm, holdout.users, holdout.completions) == ("holdout", 2, 3)
    accepted, distance = holdout.figures
    assert (accepted.value.value, accepted.value.n, accepted.users) == (pytest.approx(1 / 3), 3, 2)
    assert (distance.value.value, distance.value.n, distance.users) == (0.5, 2, 2)
    assert [figure.measure for figure in new.figures] == ["accepted"]


def test_too_few_users_say_nothing():
    one = compared(simulate(np.random.default_rng(1), LEAST_USERS, 0.5))
    assert f"of {LEAST_USERS}" in one.too_little
    assert (one.p, one.low, one.high, one.difference.low) == (1, -math.inf, math.inf, -math.inf)


def test_a_share_that_nobody_has_says_nothing_either():
    observed = simulate(np.random.default_rng(1), 400, 0.0)
    never = Observed(observed.users, observed.arms, observed.propensities, {"accepted": np.zeros(len(observed))})
    assert compared(never).too_little == "0 users with any in new, of 10"


def test_several_arms_are_corrected_for_and_an_arm_that_nobody_had_is_compared_with_nothing():
    rng = np.random.default_rng(2)
    observed = simulate(rng, 900, 0.15)
    arms = np.where(observed.arms == "holdout", "holdout", np.where(observed.users % 2, "new1", "new0"))
    three = Observed(observed.users, arms, observed.propensities, observed.values)
    found = compare(three, "holdout", 0.1, 20, 0)[1]
    assert [one.arm for one in found] == ["new0", "new1"]
    assert min(one.p_holm for one in found) == pytest.approx(2 * min(one.p for one in found))
    assert compare(three, "control", 0.1, 20, 0)[1] == []


def test_many_users_are_resampled_in_blocks_of_bounded_memory(monkeypatch):
    observed = simulate(np.random.default_rng(3), 300, 0.1)
    whole = compared(observed, resamples=400).difference
    monkeypatch.setattr(sys.modules[compare.__module__], "_BLOCK", 3_000)
    blocks = compared(observed, resamples=400).difference
    assert blocks.value == whole.value
    assert (blocks.low, blocks.high) == (pytest.approx(whole.low, abs=0.02), pytest.approx(whole.high, abs=0.02))
