"""The processes of the application under test, found by their names below this process, and killed as tests say."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import psutil

# Far more than anything takes on a machine with nothing else to do.
PATIENCE_S = 240
CONTROLLER = "ray::ServeController"


def replica(deployment: str) -> str:
    """What the processes of a deployment's replicas are called."""
    return f"ray::ServeReplica:hydra:{deployment}"


def called(name: str) -> list[psutil.Process]:
    """Processes of this test run whose title begins so, e.g. "ray::ServeReplica:hydra:Ingress"."""
    return [process for process, title in _processes() if title.startswith(name)]


def kill(name: str) -> int:
    """Ends the process of a name at once, as the kernel does when memory is short, and returns its pid."""
    (victim,) = called(name)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait(PATIENCE_S)
    return victim.pid


def until(reached: Callable[[], bool], what: str) -> None:
    """Waits for something, generously."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain: {what}")
        time.sleep(0.1)


def memory_mb() -> dict[str, float]:
    """Resident memory of each replica of the application, in MiB, by title and pid."""
    return {
        f"{title.split()[0]} {process.pid}": process.memory_info().rss / 2**20
        for process, title in _processes()
        if title.startswith("ray::ServeReplica:hydra:")
    }


def _processes() -> Iterator[tuple[psutil.Process, str]]:
    for process in psutil.Process().children(recursive=True):
        try:
            yield process, " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
