"""Searching settings for cohorts with Ray Tune."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray
import yaml
from killing import PATIENCE_S, kill_when
from rich.console import Console

from hydra_ray.learn.heads.job import fit_users
from hydra_ray.learn.heads.tuned import FALLBACK, Trial, TunedRole, load_tuned, save_tuned, tuned_file
from hydra_ray.learn.tune.job import mean_with_interval, tune_users
from hydra_ray.learn.tune.report import plot_search, tuned_table
from hydra_ray.learn.tune.space import SearchSettings, load_search
from hydra_ray.learn.tune.trial_log import TrialLog
from hydra_ray.models.base import ADAPTER, Base
from hydra_ray.progress import SILENT
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.tasks import TASKS

VERSION = "v1"
# Nothing is learnt in so few steps at the rate there is: the search has something to find.
FIT = {"mode": "zero-call", "steps": 2, "lr": 1e-5}
SEARCH = {
    "cohorts": {"clusters": 2, "amounts": {"all": 0}, "most": 2, "min_users": 8},
    "trials": 8,
    "epochs": 3,
    "grace_epochs": 1,
    "space": {"lr": {"choice": [1e-5, 0.1]}, "prior_weight": {"low": 0.0, "high": 1.0}},
}


@pytest.fixture
def tree(scorer, tmp_path):
    """Settings of a search without LLM calls on an untrained base, which has learnt the vote's weight."""
    adapter = scorer(seed=2)
    adapter.heads.prior.data.fill_(0.25)
    Base(VERSION, TASKS["demo"], scorer(seed=1), adapter).save(tmp_path / "model" / "base")
    return {
        "out": str(tmp_path),
        "users": "dev",
        "data": {"format": "simulated", "task": "demo", "dev_users": 30, "history": 16},
        "fit": FIT,
    }


@pytest.mark.usefixtures("ray_cluster")
def test_what_a_search_finds_is_recorded_and_used(tree, tmp_path):
    settings, quiet = parse_settings(tree), SILENT
    roles = tune_users(settings, SearchSettings.model_validate(SEARCH), quiet)
    tuned = roles[ADAPTER]
    assert FALLBACK in tuned.results
    assert 2 <= len(tuned.results) <= 3
    for result in tuned.results.values():
        assert len(result.trials) == SEARCH["trials"]
        assert any(trial.values == {"lr": 1e-5, "prior_weight": 0.25} for trial in result.trials), "as it was"
        best = max(result.trials, key=lambda trial: trial.score)
        assert result.values == {**best.values, "steps": best.steps}
        assert result.users + result.unseen <= 30
        assert result.gain[1] <= result.gain[0] <= result.gain[2]
    everyone = tuned.results[FALLBACK]
    assert (everyone.users, everyone.unseen) == (21, 9)
    assert load_tuned(tuned_file(settings.model_dir, VERSION))[ADAPTER].results == tuned.results
    assert not (tmp_path / "tune").exists(), "features of users stay no longer than they are needed"

    # Whether so few users are sure is chance; from here on they are.
    sure = {name: replace(result, used=True) for name, result in tuned.results.items()}
    save_tuned(tuned_file(settings.model_dir, VERSION), {ADAPTER: TunedRole(tuned.cohorts, sure)})
    fit_users(settings, quiet)
    store = open_store(settings.store_target)
    users = store.users_with_head(VERSION, ADAPTER)
    weights = {store.head(key, VERSION, ADAPTER).prior_weight for key in users}
    assert users
    assert weights <= {result.values["prior_weight"] for result in sure.values()}

    console = Console(record=True, width=200)
    console.print(tuned_table(ADAPTER, tuned))
    assert f"{everyone.gain[0]:+.3f}" in console.export_text()
    (picture,) = plot_search(roles, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_search_goes_on_where_it_was(tree, tmp_path):
    # Long enough, one after the other, to be caught in the middle.
    slow = {"trials": 12, "concurrent": 1, "steps_per_epoch": 300}
    search = {**SEARCH, **slow, "cohorts": {**SEARCH["cohorts"], "min_users": 29}}
    files = {tmp_path / "settings.yaml": tree, tmp_path / "search.yaml": search}
    for path, content in files.items():
        path.write_text(json.dumps(content))
    command = [sys.executable, "-m", "hydra_ray", "tune", *map(str, files)]
    command.insert(-1, "--search")
    command.append(f"ray.address={ray.get_runtime_context().gcs_address}")
    kill_when(lambda: len(saved_trials(tmp_path)) >= 4, command)
    before = saved_trials(tmp_path)
    assert 4 <= len(before) < 12

    last = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert last.returncode == 0, last.stderr
    (result,) = load_tuned(tuned_file(tmp_path / "model", VERSION))[ADAPTER].results.values()
    assert len(result.trials) == 12
    assert result.trials[: len(before)] == before, "finished trials count, with what they tried"
    assert len({trial.values["prior_weight"] for trial in result.trials}) == 12, "none is tried twice"
    assert "Searching" in last.stdout
    assert "View detailed results" not in last.stdout, "only what is ours is printed"


def test_a_gain_is_sure_where_all_users_have_it_and_not_where_it_is_chance():
    sure, chance = np.full(20, 0.1), np.array([1.0, -0.8] * 10)
    assert mean_with_interval(sure) == pytest.approx((0.1, 0.1, 0.1))
    mean, low, high = mean_with_interval(chance)
    assert low < 0 < mean < high


def saved_trials(out: Path) -> list[Trial]:
    """What a search that goes on would find."""
    return [trial for folder in out.glob("tune/trials/*") for trial in TrialLog(folder).read()]


def test_a_trial_that_was_being_written_is_left_out(tmp_path):
    log = TrialLog(tmp_path / "trials")
    assert log.read() == []
    for score in (0.25, 0.5):
        ended = {"best": score, "steps": 40, "training_iteration": 2, "done": True}
        log.on_trial_complete(1, [], SimpleNamespace(config={"lr": 0.1}, last_result=ended))
    (log.folder / "00002.json.4f0c.partial").write_text('{"values": {"lr":')
    assert log.read() == [Trial({"lr": 0.1}, score, 40, 2) for score in (0.25, 0.5)]


def test_searches_that_come_with_the_project_can_be_read():
    for name in ("quick", "thorough"):
        assert load_search(Path("tune_configs") / f"{name}.yaml").space
    cohorts = yaml.safe_load(Path("tune_configs/cohorts.yaml").read_text())
    assert load_search(Path("tune_configs/quick.yaml")).cohorts.amounts == cohorts["amounts"]
