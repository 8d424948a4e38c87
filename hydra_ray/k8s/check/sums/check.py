"""All sums of the objects of a set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hydra_ray.k8s.check.content.check import Content
from hydra_ray.k8s.check.content.serve import PLACE
from hydra_ray.k8s.check.kuberay import ray_clusters
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing
from hydra_ray.k8s.check.sums.budgets import check_budget
from hydra_ray.k8s.check.sums.connections import Opener, check_connections
from hydra_ray.k8s.check.sums.demand import demands
from hydra_ray.k8s.check.sums.fit import check_service
from hydra_ray.k8s.check.sums.jobs import check_entrypoint, check_used
from hydra_ray.k8s.check.sums.supply import supply

# Deployments that open no store.
_WITHOUT_STORE = {"Generator", "Engine"}


def check_sums(
    things: Sequence[Thing], pods: Mapping[Thing, Sequence[Pod]], content: Content
) -> Iterator[Problem | str]:
    """Yield what does not fit, and notes of what is not known.

    Args:
        things: Objects whose types are those of their schemas.
        pods: Templates of pods of each.
        content: What they run.
    """
    for config in content.configs:
        if config.is_whole:
            yield from check_service(config, pods[config.thing])
    for thing in things:
        yield from check_entrypoint(thing)
        yield from check_budget(thing, [pod for one in pods.values() for pod in one])
    for used in content.used:
        yield from check_used(used)
    yield from check_connections(list(_openers(content)), things)


def _openers(content: Content) -> Iterator[Opener]:
    for config in content.configs:
        replicas = sum(one.replicas for one in demands(config) if one.name not in _WITHOUT_STORE)
        for place, _, settings in config.ours:
            path = f"{PLACE}.applications[{place}].args.store"
            yield Opener(config.thing, path, settings, replicas, _nodes(config.thing), False)
    for used in content.used:
        hosts = _nodes(used.run.thing)
        yield Opener(used.run.thing, used.run.path, used.settings, hosts, hosts, True)


def _nodes(thing: Thing) -> int:
    return max(1, sum(group.nodes for _, cluster in ray_clusters(thing) for group in supply(cluster)))
