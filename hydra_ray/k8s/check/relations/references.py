"""Objects that others name: they are there, and have the keys that are asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hydra_ray.k8s.check.kuberay import ray_clusters
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, mapping, mappings, text
from hydra_ray.k8s.check.relations.known import Known

_QUEUE = "kueue.x-k8s.io/queue-name"
_PRIORITY = "kueue.x-k8s.io/priority-class"
# Of a volume: kind of what it names, and which field has the name.
_VOLUMES = {
    "configMap": ("ConfigMap", "name"),
    "secret": ("Secret", "secretName"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
}
_KINDS = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret", "configMapRef": "ConfigMap", "secretRef": "Secret"}


def check_pod_references(pod: Pod, known: Known) -> Iterator[Problem]:
    """Yield what a template of pods names and is not there."""
    for field, kind in (("serviceAccountName", "ServiceAccount"), ("priorityClassName", "PriorityClass")):
        name = text(pod.spec.get(field))
        if name and not known.has(kind, name):
            yield pod.problem(field, known.missing(kind, name))
    for place, secret in mappings(pod.spec.get("imagePullSecrets")):
        yield from _named(pod, f"imagePullSecrets[{place}].name", "Secret", secret, "name", known)
    for place, volume in mappings(pod.spec.get("volumes")):
        for field, (kind, key) in _VOLUMES.items():
            if field in volume:
                yield from _named(pod, f"volumes[{place}].{field}", kind, mapping(volume[field]), key, known)
        for number, source in mappings(dig(volume, "projected", "sources")):
            for field in ("configMap", "secret"):
                path = f"volumes[{place}].projected.sources[{number}].{field}"
                if field in source:
                    yield from _named(pod, path, _VOLUMES[field][0], mapping(source[field]), "name", known)
    for path, container in pod.containers:
        below = path.removeprefix(f"{pod.path}.")
        yield from _environment(pod, below, container, known)


def check_thing_references(thing: Thing, known: Known) -> Iterator[Problem]:
    """Yield what an object itself names and is not there: queues, and what KubeRay's own fields name."""
    labels = [("metadata.labels", thing.labels)]
    if thing.kind == "CronJob":
        template = dig(thing.tree, "spec", "jobTemplate", "metadata", "labels")
        labels.append(("spec.jobTemplate.metadata.labels", mapping(template)))
    for path, given in labels:
        for label, kind in ((_QUEUE, "LocalQueue"), (_PRIORITY, "WorkloadPriorityClass")):
            name = text(given.get(label))
            if name and not known.has(kind, name):
                yield thing.problem(f'{path}["{label}"]', known.missing(kind, name))
    for path, cluster in ray_clusters(thing):
        options = mapping(cluster.get("gcsFaultToleranceOptions"))
        for field in ("redisPassword", "redisUsername"):
            reference = mapping(dig(options, field, "valueFrom", "secretKeyRef"))
            if reference:
                at = f"{path}.gcsFaultToleranceOptions.{field}.valueFrom.secretKeyRef"
                yield from (thing.problem(at, said) for said in _wrong("Secret", reference, "name", known))
        options = mapping(cluster.get("autoscalerOptions"))
        for place, one in mappings(options.get("env")):
            for field, reference in mapping(one.get("valueFrom")).items():
                if field in _KINDS:
                    at = f"{path}.autoscalerOptions.env[{place}].valueFrom.{field}"
                    yield from (thing.problem(at, s) for s in _wrong(_KINDS[field], reference, "name", known))
        name = text(dig(cluster, "authOptions", "secretName"))
        if name and not known.has("Secret", name):
            yield thing.problem(f"{path}.authOptions.secretName", known.missing("Secret", name))


def _environment(pod: Pod, below: str, container: Mapping[str, Any], known: Known) -> Iterator[Problem]:
    for place, one in mappings(container.get("env")):
        for field, reference in mapping(one.get("valueFrom")).items():
            if field in _KINDS:
                path = f"{below}.env[{place}].valueFrom.{field}"
                yield from _named(pod, path, _KINDS[field], mapping(reference), "name", known)
    for place, one in mappings(container.get("envFrom")):
        for field in ("configMapRef", "secretRef"):
            if field in one:
                yield from _named(pod, f"{below}.envFrom[{place}].{field}", _KINDS[field], one[field], "name", known)


def _named(
    pod: Pod, path: str, kind: str, reference: Mapping[str, Any], name_field: str, known: Known
) -> Iterator[Problem]:
    yield from (pod.problem(path, said) for said in _wrong(kind, reference, name_field, known))


def _wrong(kind: str, reference: Mapping[str, Any], name_field: str, known: Known) -> Iterator[str]:
    name = text(reference.get(name_field))
    if reference.get("optional") is True:
        return
    if not name:
        yield f"it names no {kind}: {name_field}"
    elif not known.has(kind, name):
        yield known.missing(kind, name)
    else:
        has = known.keys(kind, name)
        asked = [text(reference.get("key")), *(text(one.get("key")) for _, one in mappings(reference.get("items")))]
        for key in asked:
            if key and has is not None and key not in has:
                yield f'the {kind} "{name}" has no key "{key}"; it has {", ".join(sorted(has)) or "none"}'
