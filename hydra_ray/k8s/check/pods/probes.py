"""What containers are asked by: modules that there are, and ports that a Ray node has."""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hydra_ray.k8s.check.kuberay import ray_clusters
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem, shown
from hydra_ray.k8s.check.reading.objects import dig, items, mapping, mappings, text

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_OURS = re.compile(r"hydra_ray(\.[A-Za-z_]\w*)*")
# Of Ray itself where start parameters say nothing: store, dashboard, clients, Serve, metrics (3), the node's agent.
_RAY = frozenset((6379, 8265, 10001, 8000, 8080, 44217, 44227, 52365))


def check_probes(pod: Pod) -> Iterator[Problem]:
    """Yield probes and hooks that run a module of hydra-ray's that is not there, or ask a port that no node has."""
    for path, container in pod.containers:
        asked = {name: mapping(container.get(name)) for name in _PROBES}
        asked |= {f"lifecycle.{name}": mapping(dig(container, "lifecycle", name)) for name in ("postStart", "preStop")}
        for name, handler in asked.items():
            words = [text(word) for word in items(dig(handler, "exec", "command"))]
            for flag, module in itertools.pairwise(words):
                if flag == "-m" and _OURS.fullmatch(module) and not _is_there(module):
                    yield pod.thing.problem(f"{path}.{name}.exec.command", f"there is no module {module}")
    for path, container in pod.containers[:1] if pod.group else ():
        has = _ports(pod)
        for name in _PROBES:
            for action in ("httpGet", "tcpSocket", "grpc"):
                port = dig(container, name, action, "port")
                if isinstance(port, int) and port not in has:
                    said = f"nobody listens on {shown(port)}: a Ray node's agent is on 52365, Serve on 8000"
                    yield pod.thing.problem(f"{path}.{name}.{action}.port", said)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def _ports(pod: Pod) -> set[int]:
    declared = {port.get("containerPort") for _, one in pod.containers for _, port in mappings(one.get("ports"))}
    return set(_RAY) | {port for port in declared if isinstance(port, int)} | set(_started(pod))


def _started(pod: Pod) -> Iterator[int]:
    for _, cluster in ray_clusters(pod.thing):
        groups: list[Mapping[str, Any]] = [mapping(cluster.get("headGroupSpec"))]
        groups += [group for _, group in mappings(cluster.get("workerGroupSpecs"))]
        for group in groups:
            for value in mapping(group.get("rayStartParams")).values():
                if text(value).isascii() and text(value).isdigit():
                    yield int(text(value)[:9])
