"""Starts Ray, also on a machine that is busy with other work."""

from __future__ import annotations

import logging
import os
from typing import Any

import ray

from hydra_ray.records import HydraError

log = logging.getLogger(__name__)

# Longest waits for Ray's own processes, by the variable that sets each; Ray waits 10 to 60 seconds.
_PATIENCE = {
    "RAY_gcs_server_port_wait_time_s": "180",
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_worker_register_timeout_seconds": "180",
    "RAY_agent_register_timeout_ms": "180000",
}
_ATTEMPTS = 3


def start_ray(address: str | None, **options: Any) -> None:
    """Connects to the cluster at an address, or starts one on this machine.

    A start that fails, as it does where other work keeps Ray's processes from coming up in time, is tried again with
    longer time-outs.

    Args:
        address: The cluster to connect to, as `ray.address` has it; None starts one here.
        options: Further arguments that are passed to `ray.init`.

    Raises:
        HydraError: There is no such cluster, or none could be started.
    """
    if address is not None:
        _connect(address, options)
        return
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            ray.init(address="local", **options)
            return
        except (TypeError, ValueError):
            # Not the machine's fault.
            raise
        # Ray raises whatever its parts do, bare `Exception` among it; the cause is logged, and told at the end.
        except Exception as error:
            # What came up of it would keep its memory, and the next try from starting.
            ray.shutdown()
            if attempt == _ATTEMPTS:
                raise HydraError(
                    f"Ray did not start on this machine in {attempt} tries: {_line(error)}. If it is busy or short of "
                    "memory, end other work and run the command again; Ray's logs are in /tmp/ray/session_latest"
                ) from error
            log.warning("Ray did not start (%s); trying again with longer time-outs", _line(error))
            os.environ.update({name: value for name, value in _PATIENCE.items() if name not in os.environ})


def _connect(address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        ray.shutdown()
        raise HydraError(
            f"ray.address: no cluster could be reached at {address!r}: {_line(error)}. Start one with `ray start "
            "--head`, or leave ray.address out to have one started for the command"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
