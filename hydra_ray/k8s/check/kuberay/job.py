"""Rules of a RayJob (`ValidateRayJobSpec` and what it calls)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from hydra_ray.k8s.check.kuberay.cluster import Found, cluster_problems
from hydra_ray.k8s.check.reading.objects import dig, mapping, mappings, text
from hydra_ray.settings.files.yaml_file import YAMLFileError, parse_yaml

# What goes first when policies have times of their own.
_ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")


def job_problems(spec: Mapping[str, Any], annotations: Mapping[str, Any]) -> Found:
    """Yield what the operator refuses in the spec of a job, paths below the spec."""
    ends = spec.get("shutdownAfterJobFinishes") is True
    selector = mapping(spec.get("clusterSelector"))
    mode = text(spec.get("submissionMode"))
    if spec.get("suspend") and not ends:
        yield "suspend", _refused("a job that is suspended has shutdownAfterJobFinishes: true")
    if spec.get("suspend") and selector:
        yield "suspend", _refused("a job with clusterSelector cannot be suspended")
    yield from _deletion(spec, ends, bool(selector))
    if "rayClusterSpec" not in spec and not selector:
        yield "rayClusterSpec", _refused("it is missing, and there is no clusterSelector")
    if selector:
        if not selector.get("ray.io/cluster"):
            yield "clusterSelector", _refused("it names no cluster: ray.io/cluster")
        if mode == "SidecarMode":
            yield "clusterSelector", _refused("SidecarMode has none")
    if spec.get("backoffLimit", 0) > 0 and (selector or mode == "InteractiveMode"):
        yield "backoffLimit", _refused(f"with {'clusterSelector' if selector else mode} nothing is tried again")
    if mode == "SidecarMode":
        for field in ("submitterPodTemplate", "submitterConfig"):
            if field in spec:
                yield field, _refused("SidecarMode has no pod that submits")
        policy = dig(spec, "rayClusterSpec", "headGroupSpec", "template", "spec", "restartPolicy")
        if policy not in (None, "", "Never"):
            path = "rayClusterSpec.headGroupSpec.template.spec.restartPolicy"
            yield path, _refused("in SidecarMode it is Never, or not set")
    yield from _numbers(spec)
    if "rayClusterSpec" in spec:
        if dig(spec, "rayClusterSpec", "authOptions", "enableK8sTokenAuth") is True:
            yield "rayClusterSpec.authOptions.enableK8sTokenAuth", _refused("jobs cannot use it")
        for path, said in cluster_problems(mapping(spec["rayClusterSpec"]), annotations):
            yield f"rayClusterSpec.{path}", said
    yield from _runtime_env(spec)


def _refused(said: str, rule: str = "ValidateRayJobSpec") -> str:
    return f"{said} (KubeRay: {rule})"


def _numbers(spec: Mapping[str, Any]) -> Found:
    for field in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if field in spec and spec[field] <= 0:
            yield field, _refused(f"{spec[field]} is not above 0")
    for field in ("backoffLimit", "ttlSecondsAfterFinished"):
        if spec.get(field, 0) < 0:
            yield field, _refused(f"{spec[field]} is below 0")


def _runtime_env(spec: Mapping[str, Any]) -> Found:
    try:
        given = parse_yaml(text(spec.get("runtimeEnvYAML")))
    except YAMLFileError as error:
        yield "runtimeEnvYAML", _refused(str(error), "UnmarshalRuntimeEnvYAML")
    else:
        if given is not None and not isinstance(given, dict):
            yield "runtimeEnvYAML", _refused("it is no mapping", "UnmarshalRuntimeEnvYAML")


def _deletion(spec: Mapping[str, Any], ends: bool, selects: bool) -> Found:
    rule = "validateDeletionConfiguration"
    if not ends and spec.get("ttlSecondsAfterFinished", 0) > 0:
        yield "ttlSecondsAfterFinished", _refused("it wants shutdownAfterJobFinishes: true", rule)
    if "deletionStrategy" not in spec:
        return
    strategy = mapping(spec["deletionStrategy"])
    rules = mappings(strategy.get("deletionRules"))
    legacy = {name: dig(strategy, name, "policy") for name in ("onSuccess", "onFailure") if name in strategy}
    scales = dig(spec, "rayClusterSpec", "enableInTreeAutoscaling") is True
    if rules and ends:
        yield "deletionStrategy.deletionRules", _refused("with it there is no shutdownAfterJobFinishes", rule)
    if "deletionRules" in strategy and not rules and not legacy:
        yield "deletionStrategy.deletionRules", _refused("there is no rule in it", rule)
    for name, policy in legacy.items():
        path = f"deletionStrategy.{name}.policy"
        yield from _policy(path, text(policy), selects, scales, "validateLegacyDeletionPolicies")
        if policy is None:
            yield path, _refused("it is missing", "validateLegacyDeletionPolicies")
        if policy == "DeleteNone" and ends:
            yield path, _refused("shutdownAfterJobFinishes deletes the cluster", "validateLegacyDeletionPolicies")
    seen: dict[str, dict[str, int]] = {}
    for place, one in rules:
        path, policy = f"deletionStrategy.deletionRules[{place}]", text(one.get("policy"))
        condition = mapping(one.get("condition"))
        yield from _policy(f"{path}.policy", policy, selects, scales, "validateDeletionRules")
        seconds = condition.get("ttlSeconds", 0)
        if seconds < 0:
            yield f"{path}.condition.ttlSeconds", _refused(f"{seconds} is below 0", "validateDeletionCondition")
        state = " ".join(text(condition.get(name)) for name in ("jobStatus", "jobDeploymentStatus")).strip()
        of_state = seen.setdefault(state, {})
        if policy in of_state:
            yield path, _refused(f"there is another rule for {policy} after {state}", "validateDeletionRules")
        of_state[policy] = seconds
    for state, of_state in seen.items():
        yield from _order(state, of_state)


def _policy(path: str, policy: str, selects: bool, scales: bool, rule: str) -> Found:
    if selects and policy in ("DeleteCluster", "DeleteWorkers"):
        yield path, _refused(f"{policy} is not for a job with clusterSelector", rule)
    elif scales and policy == "DeleteWorkers":
        yield path, _refused("DeleteWorkers is not for a cluster that scales", rule)


def _order(state: str, seconds: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    known = [policy for policy in _ORDER if policy in seconds]
    for first, then in pairwise(known):
        if seconds[then] < seconds[first]:
            said = f"after {state}, {then} ({seconds[then]} s) comes before {first} ({seconds[first]} s)"
            yield "deletionStrategy.deletionRules", _refused(said, "validateTTLConsistency")
