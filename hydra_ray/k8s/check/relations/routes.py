"""Where routes lead: to Services that there are, KubeRay's own among them, and to ports that these have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, mapping, mappings, text
from hydra_ray.k8s.check.relations.known import Known

# Services that KubeRay makes of an object.
_MADE = {
    "RayService": ("head-svc", "serve-svc"),
    "RayCluster": ("head-svc",),
    "RayJob": ("head-svc",),
}


def check_routes(thing: Thing, known: Known) -> Iterator[Problem]:
    """Yield backends of an HTTPRoute or an Ingress that are not there."""
    if thing.kind in ("HTTPRoute", "GRPCRoute"):
        for place, rule in mappings(dig(thing.tree, "spec", "rules")):
            for number, backend in mappings(rule.get("backendRefs")):
                if backend.get("kind", "Service") == "Service" and "namespace" not in backend:
                    path = f"spec.rules[{place}].backendRefs[{number}]"
                    yield from _backend(thing, path, text(backend.get("name")), backend.get("port"), known)
    elif thing.kind == "Ingress":
        for path, backend in _ingress_backends(thing):
            port = mapping(backend.get("port"))
            yield from _backend(thing, path, text(backend.get("name")), port.get("number", port.get("name")), known)


def _ingress_backends(thing: Thing) -> Iterator[tuple[str, Mapping[str, Any]]]:
    spec = mapping(thing.tree.get("spec"))
    if default := mapping(dig(spec, "defaultBackend", "service")):
        yield "spec.defaultBackend.service", default
    for place, rule in mappings(spec.get("rules")):
        for number, one in mappings(dig(rule, "http", "paths")):
            if service := mapping(dig(one, "backend", "service")):
                yield f"spec.rules[{place}].http.paths[{number}].backend.service", service


def _backend(thing: Thing, path: str, name: str, port: Any, known: Known) -> Iterator[Problem]:
    made = {f"{owner}-{end}" for kind, owner in known.things for end in _MADE.get(kind, ())}
    service = known.things.get(("Service", name))
    if service is None:
        if name not in made and not known.has("Service", name):
            yield thing.problem(path, known.missing("Service", name))
        return
    ports = [one for _, one in mappings(dig(service.tree, "spec", "ports"))]
    if port is not None and not any(port in (one.get("port"), one.get("name")) for one in ports):
        yield thing.problem(path, f'the Service "{name}" has no port {port}')
