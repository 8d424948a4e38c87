"""Volumes that one node mounts, against the pods that want them on several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hydra_ray.k8s.check.kuberay import ray_clusters
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, items, mapping, mappings, text
from hydra_ray.k8s.check.relations.known import Known
from hydra_ray.k8s.check.relations.selectors import matches
from hydra_ray.k8s.check.sums.supply import supply

_HOST = "kubernetes.io/hostname"
_MANY_NODES = {"ReadWriteMany", "ReadOnlyMany"}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
# How many pods other objects make of a template, where they say nothing: one.
_COUNTS = {
    **dict.fromkeys(("Deployment", "StatefulSet", "ReplicaSet"), ("spec", "replicas")),
    "Job": ("spec", "parallelism"),
    "CronJob": ("spec", "jobTemplate", "spec", "parallelism"),
}
# A DaemonSet has as many as there are nodes.
_MANY = 2


def check_volumes(thing: Thing, pods: Sequence[Pod], known: Known) -> Iterator[Problem]:
    """Yield claims of one node that several pods of one template mount, unless something holds these together.

    Where pods are of several templates, as a head and its one worker, the scheduler may still put them on one node.

    Args:
        thing: An object whose types are those of its schema.
        pods: Templates of the pods that the object makes.
        known: What else there is, claims among it.
    """
    nodes = {group.name: group.nodes for _, cluster in ray_clusters(thing) for group in supply(cluster)}
    for pod in pods:
        count = _count(pod, nodes)
        for place, volume in mappings(pod.spec.get("volumes")):
            name = text(dig(volume, "persistentVolumeClaim", "claimName"))
            claim = known.things.get(("PersistentVolumeClaim", name))
            modes = set(items(dig(claim.tree, "spec", "accessModes"))) if claim else set()
            if count < 2 or not modes or modes & _MANY_NODES or _are_held_together(pod):
                continue
            path = f"volumes[{place}].persistentVolumeClaim"
            yield pod.problem(
                path,
                f'one node mounts the claim "{name}" ({", ".join(sorted(modes))}), and {_how(pod, count)}: those on '
                "other nodes would wait for ever. Make it ReadWriteMany, or have one pod",
            )


def _count(pod: Pod, nodes: Mapping[str, int]) -> int:
    if pod.group:
        return nodes.get("head" if pod.group == "headgroup" else pod.group, 1)
    if pod.thing.kind == "DaemonSet":
        return _MANY
    said = dig(pod.thing.tree, *_COUNTS.get(pod.thing.kind, ()))
    return said if isinstance(said, int) else 1


def _how(pod: Pod, count: int) -> str:
    spread = [one for _, one in mappings(pod.spec.get("topologySpreadConstraints"))]
    if any(text(one.get("topologyKey")) == _HOST for one in spread):
        return f"these {count} pods are spread over nodes (topologySpreadConstraints)"
    return f"there may be {count} of these pods, on as many nodes"


def _are_held_together(pod: Pod) -> bool:
    """Whether pods of one template are on one node, whatever room others have."""
    if pod.spec.get("nodeName") or _HOST in mapping(pod.spec.get("nodeSelector")):
        return True
    terms = mappings(dig(pod.spec, "affinity", "podAffinity", _REQUIRED))
    return any(
        text(one.get("topologyKey")) == _HOST and matches(mapping(one.get("labelSelector")), pod.labels)
        for _, one in terms
    )
