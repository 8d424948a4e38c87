"""Jobs on their clusters: the command finds a node, and there are as many GPUs as its settings ask for."""

from __future__ import annotations

from collections.abc import Iterator

from hydra_ray.k8s.check.content.commands import Used
from hydra_ray.k8s.check.kuberay import ray_clusters
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, mapping
from hydra_ray.k8s.check.sums.supply import NodeGroup, supply

# Commands that host the LLM beside themselves where it is vLLM's.
_ASKING = {"collect", "fit", "evaluate", "profile", "reproduce"}


def check_entrypoint(thing: Thing) -> Iterator[Problem]:
    """Yield that an entrypoint finds no node with what it asks for: it would wait for ever."""
    path = {"RayJob": ("spec",), "RayCronJob": ("spec", "jobTemplate")}.get(thing.kind)
    if path is None:
        return
    spec = mapping(dig(thing.tree, *path))
    cpus, gpus = float(spec.get("entrypointNumCpus", 0)), float(spec.get("entrypointNumGpus", 0))
    for _, cluster in ray_clusters(thing):
        groups = list(supply(cluster))
        if not any(group.nodes and group.cpus >= cpus and group.gpus >= gpus for group in groups):
            said = f"no node has {cpus:g} CPUs and {gpus:g} GPUs, so the job would wait for ever"
            yield thing.problem(".".join([*path, "entrypointNumCpus"]), said)


def check_used(used: Used) -> Iterator[Problem]:
    """Yield that a command's settings ask for more GPUs than its cluster has at its most."""
    for _, cluster in ray_clusters(used.run.thing):
        groups = list(supply(cluster))
        there = sum(group.gpus * group.nodes for group in groups)
        for what, gpus, each in _asked(used):
            if gpus > there or not any(_has(group, each) for group in groups):
                said = f"{what} asks for {gpus} GPUs, {each} on a node; there are {_shown(groups)}"
                yield used.run.thing.problem(used.run.path, f"`{used.name}`: {said}")


def _asked(used: Used) -> Iterator[tuple[str, int, int]]:
    settings = used.settings
    if used.name == "train" and settings.base.gpu:
        yield f"base.workers ({settings.base.workers})", settings.base.workers, 1
    v = settings.generator.vllm
    if used.name in _ASKING and settings.generator.backend == "vllm" and v.device == "gpu":
        each = v.tensor_parallel * v.pipeline_parallel
        yield f"generator.vllm.max_replicas ({v.max_replicas})", v.max_replicas * each, each


def _has(group: NodeGroup, gpus: int) -> bool:
    return group.nodes > 0 and group.gpus >= gpus


def _shown(groups: list[NodeGroup]) -> str:
    return ", ".join(f"{group.nodes} of {group.name} ({group.gpus:g} GPUs)" for group in groups)
