"""The Ray cluster that a command works on."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import ray

from hydra_ray.models.precision import FORCED
from hydra_ray.runtime.start.core_lines import without_core_lines
from hydra_ray.runtime.start.ray_start import start_ray
from hydra_ray.runtime.threads import PASSIVE_WAITS, wait_passively
from hydra_ray.settings import RaySettings


@contextlib.contextmanager
def cluster(settings: RaySettings) -> Iterator[None]:
    """Connects to the cluster that settings name, or starts one on this machine for as long as the body runs.

    A cluster that the process is connected to already is used as it is and stays.

    Raises:
        HydraError: There is no such cluster, or none could be started.
    """
    if ray.is_initialized():
        yield
        return
    # RAY_AUTH_MODE stays unset on purpose: Ray then makes a token of its own and turns strangers away.
    # Set to "token", it would want one that exists already.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_RUN_INFO", "0")
    # What its C++ core says on stderr tells users nothing; it is heard where settings ask for it.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # What Serve's proxies answer by themselves, in the form of the rest.
    os.environ.setdefault("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "hydra_ray.serve.http.proxy:middleware")
    # Its warnings are about progress bars that we replace.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # It warns that the token is on, which is how it should be.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    # One logical CPU on top of the real ones: reading data takes little of one, training wants them all.
    cpus = settings.num_cpus or (os.cpu_count() or 1) + 1
    # Processes on a machine of their own inherit nothing from this one.
    forced = {FORCED: os.environ[FORCED]} if FORCED in os.environ else {}
    there = {"runtime_env": {"env_vars": {**PASSIVE_WAITS, **forced}}}
    options = there if settings.address else {"num_cpus": cpus, "include_dashboard": False}
    wait_passively()
    terminated = signal.getsignal(signal.SIGTERM)
    with without_core_lines():
        start_ray(settings.address, log_to_driver=False, logging_level=logging.WARNING, **options)
    # Ray takes this signal for itself; a command ends the same way by any.
    _give_back(signal.SIGTERM, terminated)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    try:
        yield
    finally:
        ray.shutdown()


def _give_back(number: signal.Signals, handler: Any) -> None:
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(number, handler)


def cores_of_a_node() -> int:
    """CPUs that one process may fill: a whole node's but for what feeds it."""
    logical = max((node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"]), default=1)
    return max(1, int(logical) - 1)
