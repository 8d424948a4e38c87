"""The Ray cluster that a command works on."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import ray

from hydra_ray.settings import RaySettings


@contextlib.contextmanager
def cluster(settings: RaySettings) -> Iterator[None]:
    """Connects to the cluster that settings name, or starts one on this machine for as long as the body runs.

    A cluster that the process is connected to already is used as it is and stays.
    """
    if ray.is_initialized():
        yield
        return
    # Ray's own default, said on purpose: jobs of other users of this machine are turned away.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_RUN_INFO", "0")
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    options = {} if settings.address else {"num_cpus": settings.num_cpus, "include_dashboard": False}
    ray.init(address=settings.address or "local", log_to_driver=False, logging_level=logging.WARNING, **options)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()
