import numpy as np
import pytest
from simulated_experiment import simulate

from hydra_ray.experiment import MEASURES, for_mean, for_share
from hydra_ray.experiment.compare import always_valid
from hydra_ray.experiment.sample_size import Design

ACCEPTED = next(one for one in MEASURES if one.name == "accepted")
PLAIN = Design(share=0.5, completions=1, correlation=0, alpha=0.05, power=0.8)


def test_the_fixed_size_is_the_textbooks():
    # 1.96 + 0.8416 squared is 7.849; two arms of 7.849 * (0.24 + 0.25) / 0.01.
    assert for_share(0.4, 0.1, PLAIN).fixed == 770
    assert for_mean(2.0, 0.5, PLAIN).fixed == 503


def test_looking_any_time_takes_more_users_and_alike_completions_do_too():
    once = for_share(0.4, 0.1, PLAIN)
    assert once.fixed < once.sequential < 3 * once.fixed
    often = for_share(0.4, 0.1, Design(0.5, 10, 0.0, 0.05, 0.8))
    assert often.fixed == pytest.approx(once.fixed / 10, abs=1)
    assert for_share(0.4, 0.1, Design(0.5, 10, 1.0, 0.05, 0.8)).fixed == once.fixed
    assert for_share(0.4, 0.1, Design(0.1, 1, 0.0, 0.05, 0.8)).fixed > 2 * once.fixed


def test_so_many_users_find_the_effect_with_the_power_asked_for():
    rng = np.random.default_rng(4)
    size = for_share(0.4, 0.1, PLAIN)
    found = [
        always_valid(simulate(rng, size.sequential, 0.1, requests=0.0, spread=0.0), ACCEPTED, "new", "holdout", 0.25)
        for _ in range(200)
    ]
    assert np.mean([one.p < 0.05 for one in found]) == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize(
    ("named", "make"),
    [
        ("effect", lambda: for_share(0.4, 0.0, PLAIN)),
        (r"baseline \+ effect", lambda: for_share(0.9, 0.2, PLAIN)),
        ("baseline", lambda: for_share(0.0, 0.2, PLAIN)),
        ("deviation", lambda: for_mean(0.0, 0.2, PLAIN)),
        ("share", lambda: for_share(0.4, 0.1, Design(1.0, 1, 0, 0.05, 0.8))),
        ("power", lambda: for_share(0.4, 0.1, Design(0.5, 1, 0, 0.05, 1.0))),
        ("completions", lambda: for_share(0.4, 0.1, Design(0.5, 0, 0, 0.05, 0.8))),
        ("correlation", lambda: for_share(0.4, 0.1, Design(0.5, 1, 2, 0.05, 0.8))),
    ],
)
def test_a_number_that_makes_no_sense_is_named(named, make):
    with pytest.raises(ValueError, match=f"^{named}: "):
        make()
