"""What Ray Tune is told of a search."""

from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from hydra_ray.learn.tune import job
from hydra_ray.learn.tune.space import SearchSettings
from hydra_ray.learn.tune.trial_log import TrialLog


def search(**values):
    return SearchSettings.model_validate({"space": {"lr": {"low": 0.01, "high": 0.1}}, **values})


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Gives what Tune is told of a search, by the kind of configuration."""
    monkeypatch.setattr(job.ray.tune, "Tuner", lambda trainable, **told: SimpleNamespace(**told))
    log = TrialLog(tmp_path)
    return lambda **values: job._tuner(print, "name", tmp_path, log, [], {"lr": 0.05}, 0, search(**values))


def test_as_many_trials_run_as_find_room_on_nodes_that_join_too(told):
    assert told().tune_config.max_concurrent_trials is None
    assert told(concurrent=3).tune_config.max_concurrent_trials == 3


def test_a_lost_trial_begins_again_as_often_as_the_search_says(told):
    assert told().run_config.failure_config.max_failures == 2
    assert told(max_failures=0).run_config.failure_config.max_failures == 0
    with pytest.raises(ValidationError, match="max_failures"):
        search(max_failures=-1)
