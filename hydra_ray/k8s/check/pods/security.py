"""The restricted kind of Kubernetes' Pod Security Standards, which a namespace can enforce."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hydra_ray.k8s.check.kuberay import ray_clusters
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, items, mapping, mappings

_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
    "image",
}
_HOST = ("hostNetwork", "hostPID", "hostIPC")


def check_restricted(pod: Pod) -> Iterator[Problem]:
    """Yield what a namespace with `pod-security.kubernetes.io/enforce: restricted` would refuse."""
    for field in _HOST:
        if pod.spec.get(field):
            yield pod.problem(field, "a restricted pod shares nothing with its host")
    for place, volume in mappings(pod.spec.get("volumes")):
        for kind in sorted(volume.keys() - _VOLUMES - {"name"}):
            yield pod.problem(f"volumes[{place}].{kind}", "a restricted pod has no such volume")
    of_pod = mapping(pod.spec.get("securityContext"))
    yield from (pod.problem(f"securityContext.{path}", said) for path, said in _of_both(of_pod))
    for path, container in pod.containers:
        own = mapping(container.get("securityContext"))
        for field, said in _of_container(own, of_pod):
            yield pod.thing.problem(f"{path}.securityContext.{field}", said)
        for place, port in mappings(container.get("ports")):
            if port.get("hostPort"):
                yield pod.thing.problem(f"{path}.ports[{place}].hostPort", "a restricted pod has no port of its host")


def check_autoscaler(thing: Thing) -> Iterator[Problem]:
    """Yield what is not restricted in the container that KubeRay adds to a head for its autoscaler."""
    for path, cluster in ray_clusters(thing):
        if cluster.get("enableInTreeAutoscaling") is not True:
            continue
        own = mapping(dig(cluster, "autoscalerOptions", "securityContext"))
        of_pod = mapping(dig(cluster, "headGroupSpec", "template", "spec", "securityContext"))
        for field, said in _of_container(own, of_pod):
            yield thing.problem(f"{path}.autoscalerOptions.securityContext.{field}", said)


def _of_container(own: Mapping[str, Any], of_pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot", "a restricted container says true, or its pod does"
    profile = dig(own, "seccompProfile", "type") or dig(of_pod, "seccompProfile", "type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile.type", "a restricted container says RuntimeDefault, or its pod does"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation", "a restricted container says false"
    if "ALL" not in items(dig(own, "capabilities", "drop")):
        yield "capabilities.drop", "a restricted container drops ALL"
    if set(map(str, items(dig(own, "capabilities", "add")))) - {"NET_BIND_SERVICE"}:
        yield "capabilities.add", "a restricted container adds NET_BIND_SERVICE at most"
    if own.get("privileged"):
        yield "privileged", "a restricted container is not privileged"
    yield from _of_both(own)


def _of_both(context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if context.get("runAsUser") == 0:
        yield "runAsUser", "a restricted pod is not run by root"
    if context.get("procMount", "Default") != "Default":
        yield "procMount", "a restricted container has the usual /proc"
