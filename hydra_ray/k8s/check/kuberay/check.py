"""KubeRay's rules over one object, and the Ray clusters that an object has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hydra_ray.k8s.check.kuberay.cluster import cluster_problems
from hydra_ray.k8s.check.kuberay.cron import schedule_problems
from hydra_ray.k8s.check.kuberay.job import job_problems
from hydra_ray.k8s.check.kuberay.service import service_problems, timeout_problems
from hydra_ray.k8s.check.names import is_dns_1035, is_subdomain
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, mapping
from hydra_ray.k8s.check.schema.custom import RAY_API

# Names of what the operator makes of an object are longer than the object's own, and a Service takes 63 letters.
_LONGEST = {"RayCluster": 53, "RayService": 47, "RayJob": 47, "RayCronJob": 36}
# Kueue's: the queue that an object waits in, and that it may grow.
_QUEUE, _ELASTIC = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/elastic-job"
# Where each kind keeps its cluster.
_CLUSTERS: dict[str, tuple[str, ...]] = {
    "RayCluster": ("spec",),
    "RayService": ("spec", "rayClusterConfig"),
    "RayJob": ("spec", "rayClusterSpec"),
    "RayCronJob": ("spec", "jobTemplate", "rayClusterSpec"),
}


def ray_clusters(thing: Thing) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the Ray cluster that an object makes, with its path; nothing for an object that makes none."""
    if thing.api == RAY_API and thing.kind in _CLUSTERS:
        keys = _CLUSTERS[thing.kind]
        if spec := mapping(dig(thing.tree, *keys)):
            yield ".".join(keys), spec


def check_kuberay(thing: Thing) -> Iterator[Problem]:
    """Yield what KubeRay's operator refuses in an object whose types are those of its schema."""
    if thing.api != RAY_API:
        return
    longest = _LONGEST[thing.kind]
    rule = f"Validate{thing.kind}{'Spec' if thing.kind == 'RayCronJob' else 'Metadata'}"
    if len(thing.name) > longest:
        yield thing.problem("metadata.name", f"it has more than {longest} letters (KubeRay: {rule})")
    if is_subdomain(thing.name) and not is_dns_1035(thing.name[:longest]):
        said = "it is small letters, digits and -, begins with a letter and ends with none of -"
        yield thing.problem("metadata.name", f"{said} (KubeRay: {rule})")
    if _QUEUE in thing.labels and thing.annotations.get(_ELASTIC) != "true":
        for path, cluster in ray_clusters(thing):
            if cluster.get("enableInTreeAutoscaling") is True:
                said = f'Kueue ({_QUEUE}) takes none that scales, but with the annotation {_ELASTIC}: "true"'
                yield thing.problem(f"{path}.enableInTreeAutoscaling", said)
    spec = mapping(thing.tree.get("spec"))
    for path, said in _found(thing, spec):
        yield thing.problem(path if path.startswith("metadata") else f"spec.{path}", said)


def _found(thing: Thing, spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if thing.kind == "RayCluster":
        yield from cluster_problems(spec, thing.annotations)
        kind = dig(spec, "upgradeStrategy", "type")
        if kind not in (None, "Recreate", "None"):
            yield (
                "upgradeStrategy.type",
                f'"{kind}" is none of Recreate, None (KubeRay: ValidateRayClusterUpgradeOptions)',
            )
    elif thing.kind == "RayService":
        yield from timeout_problems(thing.annotations)
        yield from service_problems(spec, thing.annotations)
    elif thing.kind == "RayJob":
        yield from job_problems(spec, thing.annotations)
    else:
        yield from schedule_problems(spec)
        for path, said in job_problems(mapping(spec.get("jobTemplate")), {}):
            yield f"jobTemplate.{path}", said
