"""What the nodes of a Ray cluster have to give when there are as many as there may be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hydra_ray.k8s.check.pods.quantities import quantity
from hydra_ray.k8s.check.reading.objects import dig, mapping, mappings, text

_GPUS = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915")


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes that are alike.

    Attributes:
        name: Name of the group, `head` for the head.
        nodes: Most of them.
        cpus: CPUs of one, as its Ray node counts them.
        gpus: GPUs of one.
        memory: Bytes that its container may use; infinite where it has no limit.
    """

    name: str
    nodes: int
    cpus: float
    gpus: float
    memory: float


def supply(cluster: Mapping[str, Any]) -> Iterator[NodeGroup]:
    """Yield the head and the groups of workers of a cluster, as large as they may be."""
    scales = cluster.get("enableInTreeAutoscaling") is True
    yield _group("head", 1, mapping(cluster.get("headGroupSpec")))
    for _, group in mappings(cluster.get("workerGroupSpecs")):
        most = group.get("maxReplicas", 0) if scales else group.get("replicas", group.get("minReplicas", 0))
        yield _group(text(group.get("groupName")), int(most) * int(group.get("numOfHosts", 1)), group)


def _group(name: str, nodes: int, group: Mapping[str, Any]) -> NodeGroup:
    containers = mappings(dig(group, "template", "spec", "containers"))
    resources = mapping(containers[0][1].get("resources")) if containers else {}
    limits, requests = mapping(resources.get("limits")), mapping(resources.get("requests"))
    start, own = mapping(group.get("rayStartParams")), mapping(group.get("resources"))
    # As KubeRay: what a group says itself goes first, then the container's limit, then its request, in whole CPUs.
    cpus = _first_amount(start.get("num-cpus"), own.get("CPU"))
    if cpus is None:
        amount = _number(limits.get("cpu", requests.get("cpu")))
        cpus = amount if math.isinf(amount) else math.ceil(amount)
    gpus = _first_amount(start.get("num-gpus"), own.get("GPU"))
    if gpus is None:
        gpus = sum(_number(limits.get(kind)) for kind in _GPUS)
    memory = _first_amount(start.get("memory"), own.get("memory"))
    if memory is None:
        memory = _number(limits["memory"]) if "memory" in limits else math.inf
    return NodeGroup(name, nodes, cpus, gpus, memory)


def _first_amount(*values: Any) -> float | None:
    for value in values:
        if value is not None and (amount := quantity(value)) is not None:
            return float(amount)
    return None


def _number(value: Any) -> float:
    """A quantity; none is 0, and one that is wrong no limit, since another line names it."""
    if value is None:
        return 0.0
    amount = quantity(value)
    return math.inf if amount is None else float(amount)
