"""Settings of an online experiment: what can be told, and what would mean nothing."""

from pathlib import Path

import pytest

from hydra_ray.settings import Settings, SettingsError, parse_settings

ARMS = {"cheap": {"share": 0.5, "method": "rag"}}


def parsed(**experiment):
    return parse_settings({"serve": {"experiment": experiment}}).serve.experiment


def test_by_default_there_is_no_experiment():
    assert not Settings().serve.experiment.runs


def test_an_experiment_has_arms_a_holdout_and_a_secret():
    found = parsed(name="spring", key_env="KEY", by="request", arms=ARMS, holdout=0.1)
    assert (found.runs, found.by, found.holdout, found.arms["cheap"].method) == (True, "request", 0.1, "rag")


def test_three_thirds_are_a_whole():
    assert len(parsed(name="x", key_env="K", arms={name: {"share": 1 / 3} for name in "abc"}).arms) == 3


@pytest.mark.parametrize(
    ("experiment", "reason"),
    [
        ({"name": "x", "key_env": "K", "arms": ARMS, "holdout": 0.6}, "take 1.1 of the users"),
        ({"name": "x", "key_env": "K"}, "an experiment has arms, or a holdout"),
        ({"name": "x", "holdout": 0.1}, "key_env or key_file: nothing says where the secret is"),
        ({"name": "x", "holdout": 0.1, "key_env": "K", "key_file": "k"}, "key_env and key_file says"),
        ({"holdout": 0.1, "key_env": "K"}, "name: arms and holdout are of an experiment"),
        ({"name": "x", "key_env": "K", "arms": {"default": {"share": 0.1}}}, "'default' is an arm of every experiment"),
        ({"name": "x", "key_env": "K", "arms": {" a": {"share": 0.1}}}, "' a' is no name of an arm"),
    ],
)
def test_what_would_mean_nothing_is_refused(experiment, reason):
    with pytest.raises(SettingsError, match=r"serve\.experiment") as caught:
        parsed(**experiment)
    assert reason in str(caught.value)


def test_all_errors_are_told_at_once_with_their_paths():
    arms = {"a": {"share": 0}, "b": {"shares": 0.1}, "c": {"share": 0.1, "head": "none"}}
    with pytest.raises(SettingsError) as caught:
        parsed(name="x", key_env="K", arms=arms, holdout=1)
    for path in ("arms.a.share", "arms.b.share", "arms.b.shares", "arms.c.head", "holdout"):
        assert f"serve.experiment.{path}: " in str(caught.value)


def test_the_file_of_the_secret_is_found_from_any_folder():
    settings = parse_settings({"serve": {"experiment": {"name": "x", "key_file": "k", "holdout": 0.1}}})
    assert settings.anchored().serve.experiment.key_file == Path("k").resolve()
