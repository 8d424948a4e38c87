"""Rules of a Ray cluster, whichever kind it is in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hydra_ray.k8s.check.names import is_dns_1123, label_problems
from hydra_ray.k8s.check.reading.objects import dig, items, mapping, mappings, text

Found = Iterator[tuple[str, str]]
_V2_VARIABLE = "RAY_enable_autoscaler_v2"
# Fields that the operator refuses unless its feature gate is on, which it is not by itself.
_GATED = {
    "historyServerOptions": "RayClusterHistoryServer",
    "networkPolicy": "RayClusterNetworkPolicy",
    "tlsOptions": "RayClusterMTLS",
}


def cluster_problems(spec: Mapping[str, Any], annotations: Mapping[str, Any]) -> Found:
    """Yield what the operator refuses in the spec of a cluster (`ValidateRayClusterSpec`), paths below the spec."""
    scales = spec.get("enableInTreeAutoscaling") is True
    for path, group in _groups(spec):
        yield from _containers(path, group)
        yield from _resources(path, group)
        yield from _labels(path, group)
    for place, group in mappings(spec.get("workerGroupSpecs")):
        path = f"workerGroupSpecs[{place}]"
        yield from _replicas(path, group)
        yield from _autoscaler_only(path, group, spec)
        if group.get("suspend") and scales:
            yield f"{path}.suspend", _refused("a group of a cluster that scales cannot be suspended")
    yield from _autoscaler(spec, scales)
    yield from _fault_tolerance(spec, annotations)
    yield from _auth(spec)
    for field, gate in _GATED.items():
        if field in spec:
            yield field, _refused(f"it wants the operator's feature gate {gate}, which is off by default")
    yield from _network_policy(spec)


def head_env(spec: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the environment of the head's first container, which is Ray's."""
    containers = mappings(dig(spec, "headGroupSpec", "template", "spec", "containers"))
    env = mappings(containers[0][1].get("env")) if containers else []
    return {text(one.get("name")): one for _, one in env}


def scales_by_v2(spec: Mapping[str, Any]) -> bool:
    """Return whether the autoscaler is the second version (`IsAutoscalingV2Enabled`, or by its variable)."""
    by_variable = text(head_env(spec).get(_V2_VARIABLE, {}).get("value")) in ("1", "true")
    return dig(spec, "autoscalerOptions", "version") == "v2" or by_variable


def _refused(said: str, rule: str = "ValidateRayClusterSpec") -> str:
    return f"{said} (KubeRay: {rule})"


def _groups(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "headGroupSpec", mapping(spec.get("headGroupSpec"))
    for place, group in mappings(spec.get("workerGroupSpecs")):
        yield f"workerGroupSpecs[{place}]", group


def _containers(path: str, group: Mapping[str, Any]) -> Found:
    if not items(dig(group, "template", "spec", "containers")):
        yield f"{path}.template.spec.containers", _refused("there is no container")


def _resources(path: str, group: Mapping[str, Any]) -> Found:
    given = [key for key in ("num-cpus", "num-gpus", "memory", "resources") if dig(group, "rayStartParams", key)]
    if given and group.get("resources"):
        said = f"resources are also told by rayStartParams ({', '.join(given)}): use one of the two"
        yield f"{path}.resources", _refused(said, "validateRayGroupResources")


def _labels(path: str, group: Mapping[str, Any]) -> Found:
    if "labels" in mapping(group.get("rayStartParams")):
        said = "labels of a group are told by its field labels"
        yield f"{path}.rayStartParams.labels", _refused(said, "validateRayGroupLabels")
    for key, said in label_problems(mapping(group.get("labels"))):
        yield f'{path}.labels["{key}"]', _refused(said, "validateRayGroupLabels")


def _replicas(path: str, group: Mapping[str, Any]) -> Found:
    least, most = group.get("minReplicas"), group.get("maxReplicas")
    for field, value in (("minReplicas", least), ("maxReplicas", most)):
        if value is not None and value < 0:
            yield f"{path}.{field}", _refused(f"{value} is below 0")
    if least is not None and most is not None and least > most:
        yield f"{path}.minReplicas", _refused(f"{least} is more than maxReplicas ({most})")


def _autoscaler_only(path: str, group: Mapping[str, Any], spec: Mapping[str, Any]) -> Found:
    idle, priority = group.get("idleTimeoutSeconds"), group.get("priority")
    if idle is not None and idle < 0:
        yield f"{path}.idleTimeoutSeconds", _refused(f"{idle} is below 0", "validateWorkerGroupIdleTimeout")
    elif idle is not None and not scales_by_v2(spec):
        said = "it is of the autoscaler's second version: set autoscalerOptions.version: v2"
        yield f"{path}.idleTimeoutSeconds", _refused(said, "validateWorkerGroupIdleTimeout")
    if not priority:
        return
    if not _at_least(spec, (2, 56)):
        yield f"{path}.priority", _refused("it wants rayVersion 2.56.0 or later", "validateWorkerGroupPriority")
    elif not scales_by_v2(spec):
        said = "it is of the autoscaler's second version: set autoscalerOptions.version: v2"
        yield f"{path}.priority", _refused(said, "validateWorkerGroupPriority")


def _autoscaler(spec: Mapping[str, Any], scales: bool) -> Found:
    options = mapping(spec.get("autoscalerOptions"))
    variable = head_env(spec).get(_V2_VARIABLE)
    env = "headGroupSpec.template.spec.containers[0].env"
    if not scales and variable is not None and text(variable.get("value")) in ("1", "true"):
        yield env, _refused(f"{_V2_VARIABLE} is set, and enableInTreeAutoscaling is not true")
    if scales and "version" in options and variable is not None:
        yield env, _refused(f"{_V2_VARIABLE} is set beside autoscalerOptions.version: keep the latter")
    if scales and options.get("version") == "v2":
        for path, group in _groups(spec):
            if dig(group, "template", "spec", "restartPolicy") not in (None, "", "Never"):
                said = "under the autoscaler's second version it is Never, or not set"
                yield f"{path}.template.spec.restartPolicy", _refused(said)
    if options.get("idleTimeoutSeconds", 0) < 0:
        yield "autoscalerOptions.idleTimeoutSeconds", _refused(f"{options['idleTimeoutSeconds']} is below 0")
    if any(one.get("name") == "KUBERAY_GEN_AUTOSCALER_START_CMD" for _, one in mappings(options.get("env"))):
        yield "autoscalerOptions.env", _refused("KUBERAY_GEN_AUTOSCALER_START_CMD is the operator's own")


def _fault_tolerance(spec: Mapping[str, Any], annotations: Mapping[str, Any]) -> Found:
    options, env = mapping(spec.get("gcsFaultToleranceOptions")), head_env(spec)
    given = "gcsFaultToleranceOptions" in spec
    start = mapping(dig(spec, "headGroupSpec", "rayStartParams"))
    at = "headGroupSpec.template.spec.containers[0].env"
    annotated = text(annotations.get("ray.io/ft-enabled"))
    if annotated and given:
        yield "gcsFaultToleranceOptions", _refused("the annotation ray.io/ft-enabled is set, too: use the field alone")
    if not given and annotated.lower() != "true" and "RAY_REDIS_ADDRESS" in env:
        yield at, _refused("RAY_REDIS_ADDRESS turns fault tolerance on: say it in gcsFaultToleranceOptions")
    if given:
        for variable, field in (("REDIS_PASSWORD", "redisPassword"), ("RAY_REDIS_ADDRESS", "redisAddress")):
            if variable in env:
                yield at, _refused(f"{variable} is set: use gcsFaultToleranceOptions.{field}")
        if start.get("redis-password"):
            said = "redis-password is set: use gcsFaultToleranceOptions.redisPassword"
            yield "headGroupSpec.rayStartParams", _refused(said)
        if annotations.get("ray.io/external-storage-namespace"):
            said = "the annotation ray.io/external-storage-namespace is set: use externalStorageNamespace"
            yield "gcsFaultToleranceOptions", _refused(said)
        if options.get("backend") == "rocksdb":
            said = "rocksdb wants the operator's feature gate GCSFaultToleranceEmbeddedStorage, which is off by default"
            yield "gcsFaultToleranceOptions.backend", _refused(said, "validateGcsFaultToleranceBackend")
        elif "storage" in options:
            said = "it is of the backend rocksdb"
            yield "gcsFaultToleranceOptions.storage", _refused(said, "validateGcsFaultToleranceBackend")
    if start.get("redis-username") or "REDIS_USERNAME" in env:
        yield "headGroupSpec", _refused("Redis' user is told by gcsFaultToleranceOptions.redisUsername")


def _auth(spec: Mapping[str, Any]) -> Found:
    options = mapping(spec.get("authOptions"))
    kubernetes = options.get("enableK8sTokenAuth") is True
    if options.get("mode") != "token":
        if kubernetes:
            yield "authOptions.enableK8sTokenAuth", _refused("it wants authOptions.mode: token")
        return
    if _version(spec) is None:
        yield "rayVersion", _refused("authOptions.mode: token wants the version of Ray, 2.52.0 or later")
    elif not _at_least(spec, (2, 52)):
        yield "rayVersion", _refused(f"authOptions.mode: token wants 2.52.0 or later, not {spec['rayVersion']}")
    elif kubernetes and not _at_least(spec, (2, 55)):
        yield "rayVersion", _refused(f"enableK8sTokenAuth wants 2.55.0 or later, not {spec['rayVersion']}")
    if kubernetes and options.get("secretName"):
        yield "authOptions.secretName", _refused("enableK8sTokenAuth has no Secret")


def _network_policy(spec: Mapping[str, Any]) -> Found:
    policy = mapping(spec.get("networkPolicy"))
    if not policy:
        return
    groups = [text(group.get("groupName")) for _, group in mappings(spec.get("workerGroupSpecs"))]
    for place, name in enumerate(groups):
        if not is_dns_1123(name):
            said = "with networkPolicy it is a DNS-1123 label"
            yield f"workerGroupSpecs[{place}].groupName", _refused(said, "validateNetworkPolicy")
    for place, group in mappings(policy.get("workerGroups")):
        if group.get("groupName") not in groups:
            said = "there is no such group of workers"
            yield f"networkPolicy.workerGroups[{place}].groupName", _refused(said, "validateNetworkPolicy")


def _version(spec: Mapping[str, Any]) -> tuple[int, ...] | None:
    found = re.match(r"v?(\d+)\.(\d+)", text(spec.get("rayVersion")))
    return tuple(map(int, found.groups())) if found else None


def _at_least(spec: Mapping[str, Any], least: tuple[int, int]) -> bool:
    version = _version(spec)
    return version is not None and version >= least
