"""Sets how many threads a process computes with, and how they wait, for all processes that Ray starts."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

# Threads that wait by spinning take whole cores from the processes that feed them. OpenMP reads this as it is loaded,
# so it has to be in the environment before torch is imported.
PASSIVE_WAITS = {"OMP_WAIT_POLICY": "PASSIVE"}


def wait_passively() -> None:
    """Has this process and those that it starts wait without spinning, unless the environment says otherwise."""
    for name, value in PASSIVE_WAITS.items():
        os.environ.setdefault(name, value)


def use_given_cpus() -> int | None:
    """Sets torch's threads to the CPUs that Ray gave this actor, and returns how many; None outside of its workers.

    A share of a CPU, or none, is one thread. `OMP_NUM_THREADS` and the machine's cores bound what Ray's logical CPUs,
    of which there may be more, come to.
    """
    # Imported here: the command line reads its arguments sooner without it.
    import ray

    # Asked for its context, Ray would start a cluster where there is none.
    if not ray.is_initialized() or ray.get_runtime_context().worker.mode != ray.WORKER_MODE:
        return None
    given = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
    count = threads_for(given, os.environ.get("OMP_NUM_THREADS", ""), cores())
    # Some deployments need torch late or never; it then reads what is said here.
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    return count


def threads_for(cpus: float, omp_num_threads: str, most: int) -> int:
    """Return how many threads a process computes with.

    Args:
        cpus: CPUs that Ray gave the process.
        omp_num_threads: The environment's `OMP_NUM_THREADS`; empty where it is not set.
        most: Number of cores that there are.
    """
    bound = int(omp_num_threads) if omp_num_threads.isdecimal() and int(omp_num_threads) else most
    return max(1, min(int(cpus), bound, most))


def cores(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may run on: those that it may be put on, or as many as its container has the time of.

    Args:
        control_group: Where the system tells the limits of this container.
    """
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cpu_limit(control_group)
    return most if limit is None else min(most, max(1, math.ceil(limit)))


def _cpu_limit(control_group: Path) -> float | None:
    """CPUs by the time that a container may take of them; None where nothing limits it."""
    # Of the second and of the first version of control groups.
    both = [control_group / "cpu.max"], [control_group / "cpu" / f"cpu.cfs_{what}_us" for what in ("quota", "period")]
    for files in both:
        try:
            quota, period = " ".join(file.read_text(encoding="ascii") for file in files).split()
        except OSError:
            continue
        return None if quota in ("max", "-1") else int(quota) / int(period)
    return None
