"""Disruption budgets against the most pods that they are about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hydra_ray.k8s.check.kuberay import ray_clusters
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, mapping
from hydra_ray.k8s.check.relations.selectors import matches
from hydra_ray.k8s.check.sums.supply import supply


def check_budget(thing: Thing, pods: Sequence[Pod]) -> Iterator[Problem]:
    """Yield that a budget wants more pods than there ever are: nothing could be evicted, and no node drained.

    Args:
        thing: Any object.
        pods: All templates of pods that are applied together.
    """
    least = dig(thing.tree, "spec", "minAvailable")
    if thing.kind != "PodDisruptionBudget" or not isinstance(least, int):
        return
    counts = [_most(pod) for pod in pods if matches(mapping(dig(thing.tree, "spec", "selector")), pod.labels)]
    known = [count for count in counts if count is not None]
    if known and len(known) == len(counts) and least > sum(known):
        said = f"{least} of at most {sum(known)} pods: none of them could ever be evicted"
        yield thing.problem("spec.minAvailable", said)


def _most(pod: Pod) -> int | None:
    """Most pods of a template; None where it is not known."""
    if pod.group:
        name = "head" if pod.group == "headgroup" else pod.group
        groups = [group for _, cluster in ray_clusters(pod.thing) for group in supply(cluster)]
        return next((group.nodes for group in groups if group.name == name), None)
    if pod.thing.kind in ("Deployment", "StatefulSet", "ReplicaSet"):
        return int(dig(pod.thing.tree, "spec", "replicas") or 1)
    return 1 if pod.thing.kind == "Pod" else None
