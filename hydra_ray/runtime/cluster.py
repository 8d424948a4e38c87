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
from hydra_ray.runtime.start.environment import CALLS_BY_GRPC, OF_A_CLUSTER
from hydra_ray.runtime.start.ray_start import start_ray
from hydra_ray.runtime.threads import PASSIVE_WAITS, cores, wait_passively
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
    for name, value in OF_A_CLUSTER.items():
        os.environ.setdefault(name, value)
    # Its warnings are about progress bars that we replace.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # It warns that the token is on, which is how it should be.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    # One logical CPU on top of the real ones: reading data takes little of one, training wants them all.
    cpus = settings.num_cpus or cores() + 1
    # Processes on a machine of their own inherit nothing from this one.
    forced = {FORCED: os.environ[FORCED]} if FORCED in os.environ else {}
    there = {"runtime_env": {"env_vars": {**PASSIVE_WAITS, **CALLS_BY_GRPC, **forced}}}
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


def cores_of_all_nodes() -> int:
    """CPUs that processes of one each may fill, on all nodes together, but for what feeds them."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)


def on_this_node() -> dict[str, Any]:
    """Return the options of an actor or stage that stays on the node of this process: its files are there.

    A command loses with another node nothing that it cannot do without, if that is here.
    """
    return {"label_selector": {"ray.io/node-id": ray.get_runtime_context().get_node_id()}}


def on_working_nodes() -> dict[str, Any]:
    """Return the options of an actor or stage that asks for no CPU: it stays off nodes that say they have none.

    Ray would put it on a head that is to run nothing, since what it asks for is there.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    idle = [node["NodeID"] for node in alive if not node["Resources"].get("CPU")]
    # Where nobody has any yet, nodes may come, or not.
    if not idle or len(idle) == len(alive):
        return {}
    return {"label_selector": {"ray.io/node-id": f"!in({', '.join(idle)})"}}
