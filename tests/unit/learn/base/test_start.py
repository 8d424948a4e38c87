"""Where the weights of single numbers start."""

import math
from random import Random

import pytest
import torch
from defaults import SETTINGS
from pydantic import ValidationError

from hydra_ray.learn.base.start import fitted_start, start_of
from hydra_ray.models.base import ADAPTER, RERANKER
from hydra_ray.models.lexical import LEXICAL
from hydra_ray.settings import BaseSettings

WORDS = ("river", "stone", "cloud", "lamp", "goat", "wheel", "salt", "drum", "leaf", "coat", "moss", "kite")


def rows(count=80, beside=(), priors=True):
    """Texts that are the better the more of them stands in the query, of which one has more votes."""
    drawn, found = Random(0), []
    for number in range(count):
        asked = drawn.sample(WORDS, 6)
        judged = [" ".join(drawn.sample(WORDS, 4)) for _ in range(4)]
        grounded = [sum(word in asked for word in text.split()) / 4 for text in judged]
        row = {
            "user": number % 5,
            "judged": judged,
            "by": [" ".join(asked)] * 4,
            "and_by": [()] * 4,
            "scores": [0.1 + 0.05 * share for share in grounded],
            "priors": [drawn.choice([-0.2, -2.0]) if priors else 0.0 for _ in range(4)],
        }
        if beside:
            row["beside"] = [[drawn.random() for _ in beside] for _ in range(4)]
        found.append(row)
    return found


def test_a_number_that_tells_gets_its_weight_and_others_little():
    equal, alike, grounded, noise, prior = fitted_start(rows(beside=("noise",)), True, 1, None)
    # Target: log-odds of scores 0.05 apart at a temperature of 0.03, less what the pull takes.
    assert 0.5 < grounded < 0.05 / 0.03
    assert abs(noise) < 0.2 * grounded
    assert abs(prior) < 0.2 * grounded
    # Nobody has past answers: what never differs keeps the weight that it has without a fit.
    assert (equal, alike) == (1, 0)


def test_no_small_step_makes_it_better():
    made = rows(beside=("noise",))
    found = torch.tensor(fitted_start(made, True, 1, None), dtype=torch.float64)
    again = torch.tensor(fitted_start(made, True, 1, None), dtype=torch.float64)
    assert torch.equal(found, again)
    # The same numbers in other units fit alike.
    tenfold = [{**row, "beside": [[10 * value for value in own] for own in row["beside"]]} for row in made]
    other = fitted_start(tenfold, True, 1, None)
    assert other[LEXICAL] == pytest.approx(float(found[LEXICAL]) / 10, abs=1e-3)


def test_a_weight_of_the_prior_that_is_given_stays():
    made = [{**row, "priors": [3 * (score - 0.1) for score in row["scores"]]} for row in rows()]
    free, held = fitted_start(made, False, 0, None), fitted_start(made, False, 0, 0.25)
    assert held == (1, 0, 0, 0.25)
    assert free[:LEXICAL] == (1, 0, 0)
    assert free[-1] > 1


def test_what_cannot_be_told_apart_starts_as_without_a_fit():
    alike = [{**row, "judged": [row["judged"][0]] * 4, "priors": [0.0] * 4} for row in rows(10)]
    assert fitted_start(alike, True, 0, None) == (1, 0, 0, 1)
    assert all(map(math.isfinite, fitted_start(rows(1), True, 0, None)))


def test_only_the_adapters_weights_are_fitted_and_only_where_settings_say_so():
    fitted = SETTINGS.base.model_copy(update={"start": "fitted"})
    plain = SETTINGS.base.model_copy(update={"start": "plain"})
    assert start_of(ADAPTER, rows(), plain, (), None) == start_of(RERANKER, rows(), fitted, (), None) == ()
    assert start_of(ADAPTER, rows(), fitted, (), None) == fitted_start(rows(), True, 0, None)


def test_it_is_fitted_unless_settings_or_the_loss_say_otherwise():
    assert start_of(ADAPTER, rows(), SETTINGS.base, (), None) == fitted_start(rows(), True, 0, None)
    assert start_of(ADAPTER, rows(), BaseSettings(loss="bce"), (), None) == ()


def test_of_another_loss_nothing_is_fitted_first():
    with pytest.raises(ValidationError, match="start: fitted is of the listwise loss"):
        BaseSettings(start="fitted", loss="bce")
