"""Kubernetes' own types, as `kubernetes-validate` ships them: unknown fields are errors."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from hydra_ray.k8s.check.schema.enums import ENUMS
from hydra_ray.records import HydraError

# Of the libraries that KubeRay's CRDs were generated with, whose pods are those of this version.
KUBERAY_CORE = "1.36"
_BASE = "urn:kubernetes:"


@dataclass(frozen=True, slots=True)
class Core:
    """The types of one version of Kubernetes.

    Attributes:
        version: E.g. `1.37`.
        types: Their schemas by name, e.g. `io.k8s.api.core.v1.PodSpec`.
        kinds: Names of those that are objects, by API version and kind.
        registry: Finds what they refer to.
    """

    version: str
    types: dict[str, Any]
    kinds: dict[tuple[str, str], str]
    registry: Registry

    def validator(self, name: str) -> Draft202012Validator:
        """Return a validator of one type."""
        return Draft202012Validator({"$ref": reference(name, self.version)}, registry=self.registry)

    def uri(self, name: str) -> str:
        """Return what a schema refers to this type by."""
        return reference(name, self.version)


def reference(name: str, version: str) -> str:
    """Return what a schema refers to a type of a version by."""
    return f"{_BASE}{version}#/$defs/{name}"


@functools.cache
def core_of(version: str | None) -> Core:
    """Return the types of a version of Kubernetes.

    Args:
        version: E.g. `1.35`; None for the newest that there is.

    Raises:
        HydraError: `kubernetes-validate` is not installed, or does not have this version.
    """
    try:
        from kubernetes_validate.utils import all_versions, major_minor, schema_contents
    except ImportError as error:
        raise HydraError(f'Kubernetes\' schemas are not installed ({error}); pip install "hydra-ray[k8s]"') from None
    full = {major_minor(one): one for one in all_versions()}
    wanted = list(full)[-1] if version is None else major_minor(version.removeprefix("v"))
    if wanted not in full:
        raise HydraError(f"there are no schemas of Kubernetes {version}; there are {', '.join(full)}")
    types = schema_contents(f"kubernetes-json-schema/v{full[wanted]}-local-strict/_definitions.json", wanted)["$defs"]
    for name, values in ENUMS.items():
        for field, allowed in values.items():
            # Generated schemas leave the values out.
            if field in types.get(name, {}).get("properties", {}):
                types[name]["properties"][field]["enum"] = list(allowed)
    kinds = {}
    for name, schema in types.items():
        for one in schema.get("x-kubernetes-group-version-kind", ()):
            api = f"{one['group']}/{one['version']}" if one["group"] else one["version"]
            if "spec" in schema["properties"] or "metadata" in schema["properties"]:
                kinds[api, one["kind"]] = name
    resource = DRAFT202012.create_resource({"$defs": types})
    return Core(wanted, types, kinds, Registry().with_resource(f"{_BASE}{wanted}", resource))
