"""Rules of a RayService (`ValidateRayServiceSpec` and what it calls)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hydra_ray.k8s.check.kuberay.cluster import Found, cluster_problems
from hydra_ray.k8s.check.reading.objects import dig, mapping, text

_TYPES = ("NewClusterWithIncrementalUpgrade", "NewCluster", "None")
_TIMEOUT = "ray.io/initializing-timeout"
# Go's durations: numbers with units, one after the other.
_DURATION = re.compile(r"\+?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+|\+?\d+")


def service_problems(spec: Mapping[str, Any], annotations: Mapping[str, Any]) -> Found:
    """Yield what the operator refuses in the spec of a service, paths below the spec."""
    cluster = mapping(spec.get("rayClusterConfig"))
    if dig(cluster, "authOptions", "enableK8sTokenAuth") is True:
        yield "rayClusterConfig.authOptions.enableK8sTokenAuth", _refused("services cannot use it")
    for path, said in cluster_problems(cluster, annotations):
        yield f"rayClusterConfig.{path}", said
    if dig(cluster, "headGroupSpec", "headService", "metadata", "name"):
        yield "rayClusterConfig.headGroupSpec.headService.metadata.name", _refused("the operator names it")
    strategy = mapping(spec.get("upgradeStrategy"))
    kind = strategy.get("type")
    if kind is not None and kind not in _TYPES:
        yield "upgradeStrategy.type", _refused(f'"{kind}" is none of {", ".join(_TYPES)}')
    if kind == _TYPES[0]:
        yield from _incremental(strategy, cluster)


def timeout_problems(annotations: Mapping[str, Any]) -> Found:
    """Yield what is wrong with the annotation that bounds the start of a service (`validateInitializingTimeout`)."""
    given = text(annotations.get(_TIMEOUT))
    if given and (not _DURATION.fullmatch(given) or not re.search(r"[1-9]", given)):
        said = f'"{given}" is no time above 0, e.g. 30m or 1800 (KubeRay: validateInitializingTimeout)'
        yield f'metadata.annotations["{_TIMEOUT}"]', said


def _refused(said: str, rule: str = "ValidateRayServiceSpec") -> str:
    return f"{said} (KubeRay: {rule})"


def _incremental(strategy: Mapping[str, Any], cluster: Mapping[str, Any]) -> Found:
    rule = "ValidateClusterUpgradeOptions"
    if cluster.get("enableInTreeAutoscaling") is not True:
        yield "rayClusterConfig.enableInTreeAutoscaling", _refused("an incremental upgrade wants the autoscaler", rule)
    path = "upgradeStrategy.clusterUpgradeOptions"
    if "clusterUpgradeOptions" not in strategy:
        yield path, _refused("it is missing, and an incremental upgrade wants it", rule)
        return
    options = mapping(strategy["clusterUpgradeOptions"])
    surge, step, pause = options.get("maxSurgePercent", 100), options.get("stepSizePercent"), "intervalSeconds"
    if not 0 <= surge <= 100:
        yield f"{path}.maxSurgePercent", _refused(f"{surge} is not between 0 and 100", rule)
    if step is None or not 0 <= step <= 100:
        yield f"{path}.stepSizePercent", _refused("it is a number between 0 and 100", rule)
    elif step > surge:
        yield f"{path}.stepSizePercent", _refused(f"{step} is more than maxSurgePercent ({surge})", rule)
    if options.get(pause, 0) <= 0:
        yield f"{path}.{pause}", _refused("it is a number above 0", rule)
    if not options.get("gatewayClassName"):
        yield f"{path}.gatewayClassName", _refused("an incremental upgrade wants a Gateway's class", rule)
