"""A RayService at its most: replicas against nodes, requests against queues, ends against grace periods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hydra_ray.k8s.check.content.serve import ServeConfig
from hydra_ray.k8s.check.kuberay import ray_clusters
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import dig
from hydra_ray.k8s.check.sums.demand import Demand, demands
from hydra_ray.k8s.check.sums.placing import fits_a_node, unplaced
from hydra_ray.k8s.check.sums.supply import NodeGroup, supply
from hydra_ray.runtime.draining import drain_s

_GIB = 2**30
# Kubernetes' and KubeRay's own, where nothing is said.
_GRACE_S, _DELETION_DELAY_S = 30, 60


def check_service(config: ServeConfig, pods: Sequence[Pod]) -> Iterator[Problem]:
    """Yield what does not fit in a RayService whose Serve config has no other problem.

    Args:
        config: The RayService's `serveConfigV2`, as it was read.
        pods: Templates of the pods that the object makes.
    """
    from hydra_ray.serve.limits.fitting import misfits

    yield from _capacity(config)
    for said in misfits(config.config):
        yield config.problem("", said)
    yield from _times(config, pods)


def _capacity(config: ServeConfig) -> Iterator[Problem]:
    asked = list(demands(config))
    for path, cluster in ray_clusters(config.thing):
        groups = list(supply(cluster))
        placeable = []
        for one in asked:
            if fits_a_node(one, groups):
                placeable.append(one)
            else:
                said = f"a replica of {one.name} ({_shown(one)}) fits no node: {_nodes(groups)}"
                yield config.problem(one.path, said)
        left = unplaced(placeable, groups)
        if left:
            names = ", ".join(f"{count} of {name}" for name, count in sorted(left.items()))
            total = _total(placeable)
            said = f"at their most, replicas find no place: {names}. All ask for {total}; there are {_nodes(groups)}"
            yield config.thing.problem(f"{path}.workerGroupSpecs", said)


def _shown(one: Demand) -> str:
    parts = [f"{one.cpus:g} CPUs"]
    parts += [f"{one.gpus:g} GPUs"] if one.gpus else []
    parts += [f"{one.memory / _GIB:.3g} GiB"] if one.memory else []
    return ", ".join(parts)


def _total(asked: Sequence[Demand]) -> str:
    cpus, gpus = sum(one.cpus * one.replicas for one in asked), sum(one.gpus * one.replicas for one in asked)
    memory = sum(one.memory * one.replicas for one in asked) / _GIB
    return f"{cpus:g} CPUs, {gpus:g} GPUs and {memory:.3g} GiB"


def _nodes(groups: Sequence[NodeGroup]) -> str:
    parts = []
    for group in groups:
        memory = f", {group.memory / _GIB:.3g} GiB" if group.memory != float("inf") else ""
        parts.append(f"{group.nodes} of {group.name} ({group.cpus:g} CPUs, {group.gpus:g} GPUs{memory})")
    return ", ".join(parts)


def _times(config: ServeConfig, pods: Sequence[Pod]) -> Iterator[Problem]:
    longest: list[tuple[float, str]] = []
    for place, application, settings in config.ours:
        drain = drain_s(settings.serve)
        longest.append((drain, "a request and its generation"))
        for number, one in enumerate(application.get("deployments") or ()):
            given = one.get("graceful_shutdown_timeout_s")
            path = f"applications[{place}].deployments[{number}].graceful_shutdown_timeout_s"
            if given is not None and given < drain:
                yield config.problem(path, f"{given:g} s is shorter than the longest request ({drain:g} s)")
            elif given is not None:
                longest.append((given, f"graceful_shutdown_timeout_s of {one['name']}"))
    if not longest:
        return
    seconds, why = max(longest)
    for pod in pods:
        grace = pod.spec.get("terminationGracePeriodSeconds", _GRACE_S)
        if pod.group and pod.group != "headgroup" and grace < seconds:
            said = f"{grace} s is shorter than what a pod may have to end: {seconds:g} s ({why})"
            yield pod.problem("terminationGracePeriodSeconds", said)
    yield from _deletion(config, seconds)


def _deletion(config: ServeConfig, seconds: float) -> Iterator[Problem]:
    spec: Any = config.thing.tree.get("spec")
    if dig(spec, "upgradeStrategy", "type") == "None":
        return
    delay = dig(spec, "rayClusterDeletionDelaySeconds")
    delay = _DELETION_DELAY_S if delay is None else delay
    if delay < seconds:
        said = f"{delay} s after an upgrade the old cluster goes, with requests that may take {seconds:g} s"
        yield config.thing.problem("spec.rayClusterDeletionDelaySeconds", said)
