"""KubeRay's kinds by their CRDs in the small form, and kinds of others that are known by name."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

from hydra_ray.k8s.check.schema.core import KUBERAY_CORE, core_of
from hydra_ray.k8s.check.schema.strict import strict

KUBERAY, RAY_API = "1.7", "ray.io/v1"
RAY_KINDS = ("RayCluster", "RayService", "RayJob", "RayCronJob")
# Kinds of others, whose schemas are not here.
UNCHECKED = {
    "monitoring.coreos.com": {"ServiceMonitor", "PodMonitor", "PrometheusRule"},
    "gateway.networking.k8s.io": {"Gateway", "GatewayClass", "HTTPRoute", "GRPCRoute", "ReferenceGrant"},
    "kueue.x-k8s.io": {"LocalQueue", "ClusterQueue", "ResourceFlavor", "WorkloadPriorityClass", "Topology"},
}


@functools.cache
def ray_schema(kind: str) -> dict[str, Any]:
    """Return the schema of one of KubeRay's kinds, in a CRD's words, in which Kubernetes' own types are referred to."""
    small: dict[str, Any] = json.loads((files(__package__) / "crds" / f"{kind.lower()}.json").read_text("utf-8"))
    return small


@functools.cache
def ray_validator(kind: str) -> Draft202012Validator:
    """Return a validator of one of KubeRay's kinds."""
    return Draft202012Validator(strict(ray_schema(kind)), registry=core_of(KUBERAY_CORE).registry)
