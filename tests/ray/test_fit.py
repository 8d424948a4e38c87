"""Fitting heads of many users: the pipeline, what it may lose, and what it leaves alone."""

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from defaults import load_base
from killing import kill_when
from torch.testing import assert_close

from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.training_data import load_training_data
from hydra_ray.learn.heads.fitter import FitChoice, HeadFitter
from hydra_ray.learn.heads.job import fit_users
from hydra_ray.learn.heads.pipeline import encoding, fit_shards
from hydra_ray.learn.heads.shards import HeldShards, make_shards
from hydra_ray.models.base import ADAPTER, RERANKER, Base
from hydra_ray.models.heads import HeadModel
from hydra_ray.progress import SILENT
from hydra_ray.records import UserKey
from hydra_ray.runtime.loading import chosen_users
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.tasks import TASKS

USERS = 12
VERSION = "v1"


@pytest.fixture
def tree(scorer, tmp_path):
    """Settings of a fit without LLM calls on an untrained base."""
    Base(VERSION, TASKS["demo"], scorer(seed=1), scorer(seed=2)).save(tmp_path / "model" / "base")
    return {
        "out": str(tmp_path),
        "users": "dev",
        "data": {"format": "simulated", "task": "demo", "dev_users": USERS, "history": 8},
        "fit": {"mode": "zero-call", "steps": 5},
    }


def fit(tree):
    return fit_users(parse_settings(tree), SILENT)


def stamps(settings: Settings, role: str = ADAPTER):
    store = open_store(settings.store_target)
    _, dataset = chosen_users(settings)
    found = store.stamps([user.key for user in dataset.users], VERSION, role)
    store.close()
    return found


def plan(settings: Settings):
    task, dataset = chosen_users(settings)
    data = load_training_data(settings, task, dataset, [])
    return data, make_shards(ADAPTER, {user.key: data.fingerprint(ADAPTER, user) for user in dataset.users}, 2)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("kind", "users_per_shard"), [("lowrank", 2), ("bases", USERS)])
def test_the_cluster_fits_what_one_process_would(tree, kind, users_per_shard):
    """With a process for each stage, where there are many shards, and with one for all."""
    tree["fit"] |= {"head": {"kind": kind}, "users_per_shard": users_per_shard}
    settings = parse_settings(tree)
    report = fit(tree)
    assert report.heads == {ADAPTER: USERS}
    task, dataset = chosen_users(settings)
    data, store = load_training_data(settings, task, dataset, []), open_store(settings.store_target)
    base = load_base(settings.model_dir / "base")
    fitter = HeadFitter(base.adapter.heads, lambda features: FitChoice(settings.fit), settings.base.loss)
    for user in dataset.users[:3]:
        features = encode_all(base.adapter, [data.groups(ADAPTER, user)])
        (alone,) = fitter([(user.key, features[0])])
        # Kept in bfloat16, and Adam enlarges rounding.
        assert_close(store.head(user.key, VERSION, ADAPTER).tensors, alone.head.tensors, atol=0.03, rtol=0.03)
        data_of = store.observations([user.key], VERSION, ADAPTER).get(user.key, {})
        assert len(data_of) == len(alone.observations) == (len(features[0].sizes) if kind == "bases" else 0)
    assert not list(Path(tree["out"]).glob("features-*")), "features of users stay no longer than they are needed"


@pytest.mark.usefixtures("ray_cluster")
def test_only_users_who_changed_are_fitted_again(tree):
    settings = parse_settings(tree)
    fit(tree)
    before = stamps(settings)
    again = fit(tree)
    assert (again.heads[ADAPTER], again.kept[ADAPTER]) == (0, USERS)
    assert stamps(settings) == before

    assert RERANKER not in again.heads
    store = open_store(settings.store_target)
    lost = next(iter(before))
    store.put_heads(VERSION, ADAPTER, {lost: None})
    third = fit(tree)
    assert third.heads[ADAPTER] == 1
    after = stamps(settings)
    assert {key for key in before if before[key] != after[key]} == {lost}

    tree["fit"]["steps"] = 6
    assert fit(tree).heads[ADAPTER] == USERS


@pytest.mark.usefixtures("ray_cluster")
def test_who_is_in_the_store_only_is_fitted_from_there(tree, item):
    settings = parse_settings({**tree, "data": {"format": "store"}})
    store, history = open_store(settings.store_target), chosen_users(parse_settings(tree))[1].users[0].history
    ann, stranger = UserKey("default", "ann"), UserKey("another", "ann")
    for key in (ann, stranger):
        store.put_histories({key: history})
    report = fit({**tree, "data": {"format": "store"}})
    assert (report.users, report.heads) == (1, {ADAPTER: 1})
    assert store.head(ann, VERSION, ADAPTER) is not None
    assert store.head(stranger, VERSION, ADAPTER) is None, "tenants are apart"
    store.append_history(ann, replace(history[0], id="later"))
    assert fit({**tree, "data": {"format": "store"}}).heads[ADAPTER] == 1


@pytest.mark.usefixtures("ray_cluster")
def test_a_lost_worker_costs_its_shard_a_retry(tree, tmp_path):
    settings = parse_settings(tree)
    data, shards = plan(settings)
    killed, calls = tmp_path / "killed", tmp_path / "calls"
    calls.mkdir()

    def make(base: Path, role: str):
        fitter = HeadFitter(HeadModel.load(base / role), lambda features: FitChoice(settings.fit), "listwise")

        def fit_once_killed(users):
            users = list(users)
            (calls / f"{users[0][0].user}-{time.time_ns()}").touch()
            if len(list(calls.iterdir())) == 3 and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return fitter(users)

        return fit_once_killed

    how = encoding(settings, (settings.model_dir / "base").resolve(), tmp_path / "f")
    fitted = [one.user for shard in fit_shards(HeldShards(shards, data), how, make) for one in shard.heads]
    assert killed.exists(), "the test never got to kill a worker"
    assert sorted(fitted) == sorted(user.key for user in data.dataset.users), "each user once"
    assert len(list(calls.iterdir())) <= len(shards) + 2, "other shards are not fitted again"


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_fit_goes_on_where_it_was(tree, tmp_path):
    tree["fit"] |= {"users_per_shard": 1, "steps": 1500}
    settings = parse_settings(tree)
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps(tree))
    command = [sys.executable, "-m", "hydra_ray", "fit", str(path)]
    command.append(f"ray.address={ray.get_runtime_context().gcs_address}")
    kill_when(lambda: len(stamps(settings)) >= 3, command)
    before = stamps(settings)
    assert 3 <= len(before) < USERS

    fit(tree)
    after = stamps(settings)
    assert len(after) == USERS
    assert before.items() <= after.items(), "what was finished is not fitted again"
