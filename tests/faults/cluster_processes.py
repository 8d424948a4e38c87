"""Processes of the application on the cluster of these tests: those that this process started, and no others."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

CONTROLLER, PROXY = "ray::ServeController", "ray::ProxyActor"
_REPLICA = "ray::ServeReplica:hydra:"


def replica(deployment: str) -> str:
    """Title of the processes of one deployment."""
    return _REPLICA + deployment


def processes(title: str) -> list[psutil.Process]:
    """The processes of a title that are there now. While they work, Ray adds what they do."""
    return [process for said, process in _titled() if said == title]


def of_the_application() -> dict[str, psutil.Process]:
    """All processes of the application by title; one of each, since nothing here has two replicas."""
    return {
        title: process for title, process in _titled() if title in (CONTROLLER, PROXY) or title.startswith(_REPLICA)
    }


def _titled() -> Iterator[tuple[str, psutil.Process]]:
    # Ray's daemons are children of whoever started the cluster, and its workers theirs.
    for process in psutil.Process().children(recursive=True):
        try:
            title, status = " ".join(process.cmdline()), process.status()
        except psutil.NoSuchProcess:
            continue
        if title.startswith("ray::") and status != psutil.STATUS_ZOMBIE:
            yield title.split(".")[0].split()[0], process
