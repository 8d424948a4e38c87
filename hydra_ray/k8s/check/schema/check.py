"""Whether an object is what its kind's schema says, and which kinds there are."""

from __future__ import annotations

from collections.abc import Iterator

from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing
from hydra_ray.k8s.check.schema.cel import broken_rules
from hydra_ray.k8s.check.schema.core import Core
from hydra_ray.k8s.check.schema.custom import KUBERAY, RAY_API, RAY_KINDS, UNCHECKED, ray_schema, ray_validator
from hydra_ray.k8s.check.schema.errors import schema_errors


def check_schema(thing: Thing, core: Core) -> Iterator[Problem]:
    """Yield what is wrong with one object by its schema, and note in it whether its types can be relied on."""
    missing = [key for key in ("apiVersion", "kind") if not isinstance(thing.tree.get(key), str)]
    if missing:
        yield thing.problem(missing[0], "an object says its apiVersion and kind, each as text")
        return
    is_ray = thing.api == RAY_API and thing.kind in RAY_KINDS
    if is_ray:
        validator = ray_validator(thing.kind)
    elif (thing.api, thing.kind) in core.kinds:
        validator = core.validator(core.kinds[thing.api, thing.kind])
    elif is_unchecked(thing):
        return
    else:
        yield thing.problem("kind", _unknown(thing, core))
        return
    errors, thing.shaped = schema_errors(validator, thing.tree)
    yield from (thing.problem(path, said) for path, said in errors)
    if is_ray and "metadata" in thing.tree:
        # A CRD leaves this to the API server.
        meta = core.validator("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        errors, shaped = schema_errors(meta, thing.tree["metadata"])
        thing.shaped &= shaped
        yield from (thing.problem(f"metadata.{path}".rstrip("."), said) for path, said in errors)
    if is_ray and thing.shaped:
        yield from (thing.problem(path, said) for path, said in broken_rules(ray_schema(thing.kind), thing.tree))


def is_unchecked(thing: Thing) -> bool:
    """Return whether the object is of a kind that is known, but has no schema here."""
    return thing.kind in UNCHECKED.get(thing.api.partition("/")[0], ())


def _unknown(thing: Thing, core: Core) -> str:
    others = sorted(api for api, kind in core.kinds if kind == thing.kind)
    if thing.kind in RAY_KINDS:
        others = [RAY_API]
    if others:
        return f"there is no {thing.kind} of {thing.api}; there is one of {', '.join(others)}"
    return (
        f"there is no {thing.kind} of {thing.api}, neither in Kubernetes {core.version} nor in KubeRay {KUBERAY} nor "
        "among the kinds of others that are known"
    )
