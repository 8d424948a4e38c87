"""A store's backend is chosen by its URL, does what the protocol says, and a new one is a file and a line."""

from __future__ import annotations

import inspect

import pytest
from memory_store import MemoryObservationUpdate, MemoryStore

from hydra_ray.models.base import Base
from hydra_ray.records import HydraError, UserKey
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import BACKENDS, is_there, open_store
from hydra_ray.store.protocol import ObservationUpdate, Store
from hydra_ray.store.sql import SqlStore
from hydra_ray.store.user_rows.update import SqlObservationUpdate
from hydra_ray.tasks import TEXT_TASK

ANN = UserKey("acme", "ann")


def methods(kind):
    """Public methods with the names and kinds of their parameters."""
    return {
        name: [(one.name, one.kind, one.default) for one in inspect.signature(method).parameters.values()]
        for name, method in vars(kind).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [
        (SqlStore, Store),
        (MemoryStore, Store),
        (SqlObservationUpdate, ObservationUpdate),
        (MemoryObservationUpdate, ObservationUpdate),
    ],
)
def test_a_backend_offers_what_the_protocol_says_and_nothing_else(kind, protocol):
    assert methods(kind) == methods(protocol)


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite"])
def test_the_driver_in_a_url_does_not_change_the_backend(tmp_path, scheme):
    store = open_store(f"{scheme}:///{tmp_path / 'users.db'}")
    assert isinstance(store, SqlStore)
    store.close()


def test_a_scheme_that_is_not_registered_is_sqlalchemys_to_know():
    with pytest.raises(HydraError, match="nosuch://host/users cannot be opened: Can't load plugin"):
        open_store("nosuch://host/users")


def test_a_backend_that_is_registered_is_opened_wherever_settings_name_it(scorer, tmp_path, item):
    Base("v1", TEXT_TASK, scorer(seed=1), scorer(seed=2)).save(tmp_path / "base")
    tree = {"model": {"dir": str(tmp_path)}, "store": {"url": "memory://worked-example"}}
    settings = parse_settings({"tenant": "acme", "data": {"format": "store"}, **tree})
    assert BACKENDS["memory"] is MemoryStore
    open_store(settings.anchored().store_target).put_histories({ANN: [item("a robot", "sci-fi")]})
    _, dataset = load_data(settings)
    assert [(user.key, user.history) for user in dataset.users] == [(ANN, (item("a robot", "sci-fi"),))]


def test_only_a_file_that_is_missing_is_known_to_hold_nothing(tmp_path):
    url = f"sqlite:///{tmp_path / 'users.db'}"
    assert not is_there(url)
    open_store(url).close()
    assert is_there(url)
    assert not is_there("sqlite://")
    for other in ("postgresql+psycopg://host/users", "sqlite:///file:users.db?uri=true", "no URL"):
        assert is_there(other), "whoever opens it finds out"
