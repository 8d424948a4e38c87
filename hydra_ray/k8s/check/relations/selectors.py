"""Selectors of pods: each selects something among what is applied together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem, shown
from hydra_ray.k8s.check.reading.objects import Thing, dig, items, mapping, mappings, text

_NOTHING = "no pod of these manifests has such labels"


def matches(selector: Mapping[str, Any], labels: Mapping[str, str | None]) -> bool:
    """Return whether a selector (`matchLabels`, `matchExpressions`) may select pods with these labels.

    Args:
        selector: A LabelSelector of Kubernetes, `matchLabels` and `matchExpressions` together; an empty one selects
            every pod.
        labels: Labels of a pod; None for a value that is not known before it runs.
    """
    for key, value in mapping(selector.get("matchLabels")).items():
        if key not in labels or labels[key] not in (None, value):
            return False
    return all(_holds(one, labels) for _, one in mappings(selector.get("matchExpressions")))


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str | None]) -> bool:
    key, values = text(expression.get("key")), items(expression.get("values"))
    there, value = key in labels, labels.get(key)
    match expression.get("operator"):
        case "Exists":
            return there
        case "DoesNotExist":
            return not there
        case "In":
            return there and (value is None or value in values)
        case _:
            return not there or value is None or value not in values


def check_selectors(thing: Thing, pods: Sequence[Pod]) -> Iterator[Problem]:
    """Yield selectors of one object that select no pod, and ports that the selected pods do not have.

    Args:
        thing: Any object.
        pods: All templates of pods that are applied together.
    """
    if thing.kind == "Service" and thing.api == "v1":
        yield from _service(thing, pods)
    elif thing.kind == "PodDisruptionBudget":
        selected = _selected(dig(thing.tree, "spec", "selector"), pods)
        if not selected:
            yield thing.problem("spec.selector", _NOTHING)
    elif thing.kind == "NetworkPolicy":
        yield from _network_policy(thing, pods)
    elif thing.kind == "PodMonitor":
        yield from _pod_monitor(thing, pods)


def check_own_selectors(pod: Pod) -> Iterator[Problem]:
    """Yield selectors of a template by which its pods keep apart from each other, and which do not select them."""
    for place, one in mappings(pod.spec.get("topologySpreadConstraints")):
        if "labelSelector" not in one:
            yield pod.problem(f"topologySpreadConstraints[{place}].labelSelector", "without it no pod counts")
        elif not matches(mapping(one["labelSelector"]), pod.labels):
            said = "it does not select these pods themselves, so they are not spread"
            yield pod.problem(f"topologySpreadConstraints[{place}].labelSelector", said)
        for key in items(one.get("matchLabelKeys")):
            if key not in pod.labels:
                said = f"these pods have no label {shown(key)}"
                yield pod.problem(f"topologySpreadConstraints[{place}].matchLabelKeys", said)
    own = {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"}
    if pod.thing.kind in own and not matches(mapping(dig(pod.thing.tree, "spec", "selector")), pod.labels):
        yield pod.thing.problem("spec.selector", "it does not select the pods of its own template")


def _selected(selector: Any, pods: Sequence[Pod]) -> list[Pod]:
    return [pod for pod in pods if matches(mapping(selector), pod.labels)]


def _service(thing: Thing, pods: Sequence[Pod]) -> Iterator[Problem]:
    spec = mapping(thing.tree.get("spec"))
    if "selector" not in spec:
        return
    selected = _selected({"matchLabels": spec["selector"]}, pods)
    if not selected:
        yield thing.problem("spec.selector", _NOTHING)
        return
    for place, port in mappings(spec.get("ports")):
        target = port.get("targetPort", port.get("port"))
        if not any(pod.has_port(target) for pod in selected):
            yield thing.problem(f"spec.ports[{place}].targetPort", f"the pods it selects have no port {shown(target)}")


def _network_policy(thing: Thing, pods: Sequence[Pod]) -> Iterator[Problem]:
    spec = mapping(thing.tree.get("spec"))
    selected = _selected(spec.get("podSelector"), pods)
    if not selected:
        yield thing.problem("spec.podSelector", _NOTHING)
    types = items(spec.get("policyTypes"))
    for field, kind, peers in (("ingress", "Ingress", "from"), ("egress", "Egress", "to")):
        if field in spec and types and kind not in types:
            yield thing.problem(f"spec.{field}", f"policyTypes does not have {kind}, so this counts for nothing")
        for place, rule in mappings(spec.get(field)):
            for number, peer in mappings(rule.get(peers)):
                # Pods of other namespaces are not known here.
                here = "podSelector" in peer and "namespaceSelector" not in peer
                if here and not _selected(peer["podSelector"], pods):
                    yield thing.problem(f"spec.{field}[{place}].{peers}[{number}].podSelector", _NOTHING)
            for number, port in mappings(rule.get("ports")):
                name = port.get("port")
                if field == "ingress" and selected and not any(pod.has_port(name) for pod in selected):
                    path = f"spec.ingress[{place}].ports[{number}].port"
                    yield thing.problem(path, f"the pods it selects have no port {shown(name)}")


def _pod_monitor(thing: Thing, pods: Sequence[Pod]) -> Iterator[Problem]:
    spec = mapping(thing.tree.get("spec"))
    selected = _selected(spec.get("selector"), pods)
    if not selected:
        yield thing.problem("spec.selector", _NOTHING)
        return
    for place, endpoint in mappings(spec.get("podMetricsEndpoints")):
        port = endpoint.get("port")
        if port is not None and not any(pod.has_port(port) for pod in selected):
            path = f"spec.podMetricsEndpoints[{place}].port"
            yield thing.problem(path, f"the pods it selects have no port {shown(port)}")
