"""The refitter on a cluster: heads that are due are fitted again, found in the store or by a note."""

import time

import pytest
from ray import serve

from hydra_ray.models.base import ADAPTER, Base
from hydra_ray.records import UserKey
from hydra_ray.runtime.models import first_served
from hydra_ray.serve.feedback.refitter import Refitter
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import FeedbackEvent
from hydra_ray.tasks import TEXT_TASK

ANN = UserKey("acme", "ann")
PATIENCE_S = 240


@pytest.fixture
def settings(scorer, tmp_path):
    Base("v1", TEXT_TASK, scorer(seed=1), scorer(seed=2)).save(tmp_path / "base")
    settings = parse_settings(
        {
            "out": str(tmp_path),
            "tenant": ANN.tenant,
            "model": {"dir": str(tmp_path)},
            "fit": {"mode": "zero-call", "min_groups": 1, "steps": 3, "refit_items": 3},
        }
    ).anchored()
    first_served(settings)
    return settings


@pytest.fixture
def store(settings):
    store = open_store(settings.store_target)
    yield store
    store.close()


def says(store, said, numbers):
    for number in numbers:
        event = FeedbackEvent(f"i{number}", f"asks {number}", said, "Calm.", ("Calm.", "Go.", "Wait."))
        with store.updating_observations(ANN, "v1", ADAPTER) as update:
            if event.item is not None:
                update.append_history(event.item)
            update.put_event(event)


def changed(store, before):
    """The stamp of Ann's head once it is another one."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := store.stamps([ANN], "v1", ADAPTER)) == before:
        if time.monotonic() > deadline:
            raise TimeoutError("no head was fitted")
        time.sleep(0.2)
    return now


def test_heads_are_fitted_again_of_whom_enough_is_new(ray_cluster, settings, store):
    says(store, "accepted", range(3))
    handle = serve.run(Refitter.bind(settings), name="refitter", route_prefix=None)
    try:
        first = changed(store, {})
        says(store, "rejected", range(3, 6))
        handle.note.remote(ANN).result(timeout_s=PATIENCE_S)
        changed(store, first)
    finally:
        serve.shutdown()
