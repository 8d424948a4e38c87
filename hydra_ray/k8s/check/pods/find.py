"""All templates of pods that objects have, with the labels and ports that their pods will have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hydra_ray.k8s.check.kuberay import ray_clusters
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, mapping, mappings, text

_TEMPLATES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"), ("spec", "template")),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "RayJob": ("spec", "submitterPodTemplate"),
    "RayCronJob": ("spec", "jobTemplate", "submitterPodTemplate"),
    "Pod": (),
}
# What KubeRay gives the first container of a pod of its own: names of ports that it has anyway.
_RAY_PORTS = {"metrics": 8080}


@dataclass(frozen=True, slots=True)
class Pod:
    """A template of pods.

    Attributes:
        thing: Object that it is in.
        path: Where its spec is.
        template: The template.
        labels: Labels that its pods have; None for a value that only the operator knows.
        ports: Ports that they have by name, beside those of their containers.
        group: Group of workers, `headgroup` for a head; empty for a pod that is no node of a Ray cluster.
    """

    thing: Thing
    path: str
    template: Mapping[str, Any]
    labels: Mapping[str, str | None]
    ports: Mapping[str, int]
    group: str

    @property
    def spec(self) -> Mapping[str, Any]:
        """The spec of its pods."""
        return mapping(self.template.get("spec"))

    @property
    def containers(self) -> list[tuple[str, Mapping[str, Any]]]:
        """All its containers, those that go first included, each with its path."""
        kinds = ("containers", "initContainers", "ephemeralContainers")
        return [(f"{self.path}.{kind}[{place}]", one) for kind in kinds for place, one in mappings(self.spec.get(kind))]

    def has_port(self, port: Any) -> bool:
        """Return whether some container has a port of this name or number; a number needs not be declared."""
        return not isinstance(port, str) or port in self._named_ports

    def port_number(self, name: str) -> int | None:
        """Return the number of the port that some container has by this name; None where none has, or none is told."""
        return self._named_ports.get(name)

    @property
    def _named_ports(self) -> dict[str, int | None]:
        declared = [one for _, container in self.containers for _, one in mappings(container.get("ports"))]
        return {**self.ports, **{text(one.get("name")): one.get("containerPort") for one in declared}}

    def problem(self, path: str, said: str) -> Problem:
        """Return a problem of this pod, at a path below its spec."""
        return self.thing.problem(f"{self.path}.{path}" if path else self.path, said)


def pods_of(thing: Thing) -> Iterator[Pod]:
    """Yield the templates of pods of one object whose types are those of its schema."""
    if thing.kind in _TEMPLATES:
        keys = _TEMPLATES[thing.kind]
        template = mapping(dig(thing.tree, *keys))
        if "spec" in template:
            made = {"ray.io/originated-from-cr-name": thing.name} if thing.kind == "RayJob" else {}
            labels = {**mapping(dig(template, "metadata", "labels")), **made}
            yield Pod(thing, ".".join([*keys, "spec"]), template, labels, {}, "")
    for path, cluster in ray_clusters(thing):
        name = thing.name if thing.kind == "RayCluster" else None
        head = mapping(cluster.get("headGroupSpec"))
        yield _node(thing, f"{path}.headGroupSpec", head, "headgroup", name)
        for place, group in mappings(cluster.get("workerGroupSpecs")):
            yield _node(thing, f"{path}.workerGroupSpecs[{place}]", group, text(group.get("groupName")), name)


def _node(thing: Thing, path: str, group: Mapping[str, Any], name: str, cluster: str | None) -> Pod:
    template = mapping(group.get("template"))
    kind = "head" if name == "headgroup" else "worker"
    # As KubeRay's labelPod: the template's own go over these, but for the last three.
    labels: dict[str, str | None] = {
        "ray.io/is-ray-node": "yes",
        "ray.io/identifier": f"{cluster}-{kind}" if cluster else None,
        "ray.io/serve": None,
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
        **mapping(dig(template, "metadata", "labels")),
        **mapping(group.get("labels")),
        "ray.io/cluster": cluster,
        "ray.io/node-type": kind,
        "ray.io/group": name,
    }
    return Pod(thing, f"{path}.template.spec", template, labels, _RAY_PORTS, name)
