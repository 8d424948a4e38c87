"""Training again leaves what is served alone: it publishes another version beside it."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from defaults import load_base, simulate
from made_up_users import make_head

from hydra_ray.learn.base.progress import TrainState
from hydra_ray.learn.base.trainer import FittedBase, FittedRole
from hydra_ray.learn.train import job
from hydra_ray.models.base import ADAPTER, RERANKER, roles_for
from hydra_ray.progress import SILENT
from hydra_ray.records import HistoryItem
from hydra_ray.runtime.models import catalog_of, used_roles
from hydra_ray.settings import parse_settings
from hydra_ray.store.aliases import CANDIDATE, PRODUCTION
from hydra_ray.store.backends import open_store
from hydra_ray.tasks import TASKS


@pytest.fixture
def people():
    dataset, _ = simulate(users=3, history=2, queries=1, seed=7, split="train")
    return dataset


@pytest.fixture
def meanwhile():
    """What happens while a base is trained: nothing, unless a test says so."""
    return Mock()


@pytest.fixture
def train(monkeypatch, people, scorer, meanwhile, tmp_path):
    """Trains as the command does, with everything stood in for that takes Ray or an LLM."""
    seeds = iter(range(100))

    def fit_base(groups, *_, storage, **__):
        meanwhile(storage)
        roles = {}
        for role in groups:
            made = scorer(seed=next(seeds))
            heads = {user.key: make_head(made.heads, "lowrank", seed=1) for user in people.users}
            roles[role] = FittedRole(made, heads)
        epochs = [{"role": role, "epoch": 0, "loss": 0.25} for role in groups]
        return FittedBase(roles, TrainState(epochs=epochs))

    plain = parse_settings({"out": str(tmp_path)})
    monkeypatch.setattr(job, "load_data", lambda *_: (TASKS["demo"], people))
    monkeypatch.setattr(job, "load_training_data", lambda *_: SimpleNamespace(groups=lambda role, user: []))
    monkeypatch.setattr(job, "check_enough", lambda *_: None)
    monkeypatch.setattr(job, "fit_commons", lambda *_: None)
    monkeypatch.setattr(job, "fit_base", fit_base)
    monkeypatch.setattr(job, "train_gate", lambda *_: None)
    monkeypatch.setattr(job, "cluster", lambda _: contextlib.nullcontext())
    return lambda settings=plain: (settings, job.train_base(settings, SILENT))


def test_checkpoints_are_beside_the_base_unless_settings_say_where(train, meanwhile, tmp_path):
    settings, _ = train()
    elsewhere = parse_settings({"out": str(tmp_path), "base": {"checkpoints": "s3://bucket/training"}})
    train(elsewhere)
    assert [call.args for call in meanwhile.call_args_list] == [
        (settings.model_dir / "training",),
        ("s3://bucket/training",),
    ]


def test_the_first_base_is_served_and_later_ones_are_candidates_beside_it(train, people):
    settings, first = train()
    _, second = train()
    _, third = train()
    assert [report.alias for report in (first, second, third)] == [PRODUCTION, CANDIDATE, CANDIDATE]
    store = open_store(settings.store_url)
    with catalog_of(settings) as catalog:
        current = {name: change.version for name, change in catalog.aliases.current().items()}
        assert current == {PRODUCTION: first.version, CANDIDATE: third.version}
        published = [manifest.version for manifest in catalog.registry.versions()]
        assert published == [first.version, second.version, third.version]
        for version in published:
            assert load_base(catalog.registry.fetch(version)).version == version
            assert set(store.users_with_head(version, ADAPTER)) == {user.key for user in people.users}
        manifest = catalog.registry.manifest(second.version)
        assert (manifest.users, manifest.parent) == (3, first.version)
        assert manifest.metrics == {role: {"epoch": 0.0, "loss": 0.25} for role in roles_for(settings.method.rerank)}
        assert catalog.registry.fitted_with(people.users[0].key) == dict.fromkeys(published, True)
    store.close()


@pytest.mark.parametrize("rerank", [False, True])
def test_a_base_has_a_reranker_where_settings_want_one(train, people, tmp_path, rerank):
    settings, report = train(parse_settings({"out": str(tmp_path), "method": {"rerank": rerank}}))
    roles = (RERANKER, ADAPTER) if rerank else (ADAPTER,)
    assert tuple(report.groups) == roles
    store = open_store(settings.store_url)
    with catalog_of(settings) as catalog:
        manifest = catalog.registry.manifest(report.version)
        assert manifest.roles == load_base(catalog.registry.fetch(report.version)).roles == roles
        assert used_roles(settings, manifest) == roles
    assert len(list(store.users_with_head(report.version, RERANKER))) == (len(people.users) if rerank else 0)
    store.close()


def test_what_was_learnt_of_who_is_deleted_meanwhile_does_not_come_back_with_them(train, people, meanwhile):
    settings, _ = train()
    store, key = open_store(settings.store_target), people.users[0].key
    said = HistoryItem("later", "a film", "calm")

    def leaves_and_comes_back(_):
        store.delete(key)
        store.append_history(key, said)

    meanwhile.side_effect = leaves_and_comes_back
    _, report = train()
    assert set(store.users_with_head(report.version, ADAPTER)) == {user.key for user in people.users[1:]}
    assert store.history(key) == (said,)
    meanwhile.side_effect = None
    # A deletion of before is none of a later training, whose records are read without it.
    _, after = train()
    assert key in store.users_with_head(after.version, ADAPTER)
    store.close()
