import json

import numpy as np
import pytest
import torch

from hydra_ray.learn.heads.cohorts import Cohorts
from hydra_ray.learn.heads.fitter import FitChoice
from hydra_ray.learn.heads.tuned import FALLBACK, CohortResult, Trial, TunedRole, load_tuned, save_tuned, tuned_file
from hydra_ray.models.features import UserFeatures
from hydra_ray.records import HydraError
from hydra_ray.settings import FitSettings


def result(used=True, **values):
    trial = Trial(values, 0.5, 20, 3)
    return CohortResult({**values, "steps": 20}, used, 10, 4, 0.4, 0.5, (0.1, -0.1, 0.3), [trial])


@pytest.fixture
def tuned():
    centroids = np.eye(2, dtype=np.float32)
    results = {FALLBACK: result(lr=0.1), "1-all": result(lr=0.2, prior_weight=0.5)}
    return TunedRole(Cohorts(centroids, {"all": 0}), results)


def user(axis):
    z = torch.zeros(2, 2)
    z[0, axis] = 1
    return UserFeatures(z, torch.tensor([2]), torch.tensor([1.0, 0.0]), torch.zeros(2), ("q",))


def test_a_user_is_fitted_as_is_best_for_the_cohort_or_for_everyone_where_it_was_not_searched(tuned):
    fit = FitSettings(pull=0.7)
    own = tuned.choose(user(1), fit)
    assert (own.fit.lr, own.fit.steps, own.fit.pull, own.prior_weight) == (0.2, 20, 0.7, 0.5)
    others = tuned.choose(user(0), fit)
    assert (others.fit.lr, others.prior_weight) == (0.1, None)


def test_a_cohort_too_small_to_tell_takes_what_is_used_for_everyone_or_the_settings_there_were(tuned):
    fit = FitSettings()
    tuned.results["1-all"] = result(used=False, lr=0.2)
    assert tuned.choose(user(1), fit).fit.lr == 0.1
    tuned.results[FALLBACK] = result(used=False, lr=0.1)
    assert tuned.choose(user(1), fit) == tuned.choose(user(0), fit) == FitChoice(fit)


def test_what_was_found_is_read_again_with_all_its_trials(tuned, tmp_path):
    path = tuned_file(tmp_path, "v1")
    assert load_tuned(path) == {}
    save_tuned(path, {"adapter": tuned})
    read = load_tuned(path)["adapter"]
    assert read.results == tuned.results
    assert read.cohorts.of(user(1)) == tuned.cohorts.of(user(1)) == "1-all"
    assert tuned_file(tmp_path, "v2") != path, "tuned settings belong to one base"


@pytest.mark.parametrize("text", ["{", "{}", json.dumps({"schema": "other"}), "[1]"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, text):
    path = tuned_file(tmp_path, "v1")
    path.write_text(text)
    with pytest.raises(HydraError, match="tune again") as caught:
        load_tuned(path)
    assert str(path) in str(caught.value)
