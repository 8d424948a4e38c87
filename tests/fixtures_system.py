"""What the tests of whole flows share: one Ray cluster, one trained demo."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from hydra_ray.progress import SILENT
from hydra_ray.settings import RaySettings, Settings

if TYPE_CHECKING:
    from hydra_ray.evaluate.results import TaskResult


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """The one Ray cluster of all tests: two at once do not fit on two cores."""
    from hydra_ray.runtime.cluster import cluster

    # Three that are served with vLLM, and one for what else runs; more only starts more processes, which take seconds.
    with cluster(RaySettings(num_cpus=4)):
        logging.getLogger("ray").setLevel(logging.ERROR)
        yield


@pytest.fixture(scope="session")
def demo_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The demo as users get it."""
    from hydra_ray.demo import demo_settings as load_demo_settings

    return load_demo_settings(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def demo_results(ray_cluster: None, demo_settings: Settings) -> TaskResult:
    """The demo's collect, train, fit and evaluate, once for all tests."""
    from hydra_ray.evaluate.run import evaluate
    from hydra_ray.learn.collect.job import collect_feedback
    from hydra_ray.learn.heads.job import fit_users
    from hydra_ray.learn.train.job import train_base

    quiet = SILENT
    collect_feedback(demo_settings, quiet)
    train_base(demo_settings, quiet)
    fit_users(demo_settings.model_copy(update={"users": "dev"}), quiet)
    dev = demo_settings.data.model_copy(update={"split": "dev"})
    (task,) = evaluate(demo_settings.model_copy(update={"data": dev}), quiet).tasks
    return task
