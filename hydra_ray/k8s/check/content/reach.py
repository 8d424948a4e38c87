"""Whether NetworkPolicies let pods go where they have to: to DNS, and to what their settings name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from hydra_ray.k8s.check.content.check import Content
from hydra_ray.k8s.check.kuberay import ray_clusters
from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, items, mapping, mappings, text
from hydra_ray.k8s.check.relations.known import Known
from hydra_ray.k8s.check.relations.nodes import applies
from hydra_ray.k8s.check.relations.selectors import matches
from hydra_ray.k8s.destinations import S3, host_and_port, named_urls, redis_url
from hydra_ray.settings import Settings, SettingsError

_NAMESPACE = "kubernetes.io/metadata.name"
_ENDPOINT = "AWS_ENDPOINT_URL"


@dataclass(frozen=True, slots=True)
class _Goal:
    """Where pods go.

    Attributes:
        name: The setting that names it.
        host: Host; empty for the cluster's DNS.
        port: Port.
        protocol: TCP or UDP.
    """

    name: str
    host: str
    port: int
    protocol: str = "TCP"

    @property
    def shown(self) -> str:
        return f"{self.host}:{self.port} ({self.name})" if self.host else "DNS (UDP 53), so that no name is found"


_DNS = _Goal("DNS", "", 53, "UDP")


def check_reach(
    things: Sequence[Thing], pods: Mapping[Thing, Sequence[Pod]], content: Content, known: Known
) -> Iterator[Problem]:
    """Yield policies that let pods go somewhere, and not to where their settings want them to go.

    A policy that is made elsewhere may open the way, so where one is named nothing is said.

    Args:
        things: Objects that are applied together.
        pods: Templates of pods of each.
        content: What they run, with its settings.
        known: What else there is.
    """
    policies = [thing for thing in things if thing.kind == "NetworkPolicy"]
    if any(kind == "NetworkPolicy" for kind, _ in known.elsewhere):
        return
    every = [pod for own in pods.values() for pod in own]
    for pod, settings in _users(pods, content):
        over = [one for one in policies if applies(one, "egress", pod)]
        rules = [rule for one in over for _, rule in mappings(dig(one.tree, "spec", "egress"))]
        for goal in _goals(pod, settings) if over else ():
            target = _Target(goal, known, every)
            if not any(target.is_reached_by(rule) for rule in rules):
                said = f"no rule lets pods of {pod.thing.shown} go to {goal.shown}"
                yield over[0].problem("spec.egress", said)


def _users(pods: Mapping[Thing, Sequence[Pod]], content: Content) -> Iterator[tuple[Pod, Settings]]:
    """Pods that use settings: all nodes of a Ray cluster, or the pod that runs the command."""
    for config in content.configs:
        for _, _, settings in config.ours:
            yield from ((pod, settings) for pod in pods[config.thing] if pod.group)
    for used in content.used:
        nodes = [pod for pod in pods[used.run.thing] if pod.group]
        in_cluster = any(pod.group for pod in used.run.pods)
        yield from ((pod, used.settings) for pod in (nodes if in_cluster else used.run.pods))


def _goals(pod: Pod, settings: Settings) -> Iterator[_Goal]:
    yield _DNS
    urls = list(named_urls(settings, _s3_of(pod)))
    for _, cluster in ray_clusters(pod.thing):
        if address := text(dig(cluster, "gcsFaultToleranceOptions", "redisAddress")):
            urls.append(("gcsFaultToleranceOptions.redisAddress", redis_url(address)))
    for name, url in urls:
        try:
            yield _Goal(name, *host_and_port(name, url))
        except SettingsError:
            # It may come from a variable; where it is wrong, the first start says so.
            continue


def _s3_of(pod: Pod) -> str | None:
    """URL of the object store that a pod asks; None where only the cluster knows."""
    env = [one for _, container in pod.containers[:1] for _, one in mappings(container.get("env"))]
    named = next((one for one in env if one.get("name") == _ENDPOINT), None)
    return S3 if named is None else text(named.get("value")) or None


class _Target:
    """A place as rules of policies see it.

    Args:
        goal: Where pods go.
        known: What there is, Services among it.
        pods: All templates of pods that are applied together.
    """

    def __init__(self, goal: _Goal, known: Known, pods: Sequence[Pod]) -> None:
        self._goal = goal
        self._address = _address(goal.host)
        # Its own namespace, another one by name, or None: outside of the cluster.
        self._namespace: str | None = None
        match [] if self._address else goal.host.split("."):
            case [_]:
                self._namespace = ""
            case [_, name] | [_, name, "svc", *_]:
                self._namespace = name
        service = known.things.get(("Service", goal.host)) if self._namespace == "" else None
        # What a Service sends on arrives at the pods' port, which is what rules are of; None is any.
        self._port: int | None = goal.port if service is None else _target_port(service, goal.port)
        self._behind = [pod for pod in pods if _is_behind(service, pod)] if service else []
        self._others = [pod for pod in pods if not pod.group]

    def is_reached_by(self, rule: Mapping[str, Any]) -> bool:
        """Whether a rule of egress may let pods go there; what is not known is taken for a yes."""
        ports, peers = mappings(rule.get("ports")), mappings(rule.get("to"))
        opens = not ports or any(self._is_at(port) for _, port in ports)
        return opens and (not peers or any(self._is_at_peer(peer) for _, peer in peers))

    def _is_at(self, port: Mapping[str, Any]) -> bool:
        number = port.get("port")
        if port.get("protocol", "TCP") != self._goal.protocol:
            return False
        if self._port is None or not isinstance(number, int):
            # None is every port, and a name is one that only the pods there know.
            return True
        return number <= self._port <= port.get("endPort", number)

    def _is_at_peer(self, peer: Mapping[str, Any]) -> bool:
        if "ipBlock" in peer:
            return self._address is None or _holds(mapping(peer["ipBlock"]), self._address)
        if not self._goal.host:
            # Pods of its own namespace alone are no DNS.
            return "namespaceSelector" in peer
        if self._namespace is None:
            return False
        if "namespaceSelector" in peer:
            return self._namespace == "" or _may_be(mapping(peer["namespaceSelector"]), self._namespace)
        return self._namespace == "" and self._is_among(mapping(peer.get("podSelector")))

    def _is_among(self, selector: Mapping[str, Any]) -> bool:
        """Whether a selector may select the pods that answer under the name: of a Service that there is, its own."""
        if self._behind:
            return any(matches(selector, pod.labels) for pod in self._behind)
        return not selector or any(matches(selector, pod.labels) for pod in self._others)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _holds(block: Mapping[str, Any], address: IPv4Address | IPv6Address) -> bool:
    try:
        left_out = [ip_network(text(one), strict=False) for one in items(block.get("except"))]
        return address in ip_network(text(block.get("cidr")), strict=False) and not any(
            address in one for one in left_out
        )
    except ValueError:
        # Another line names it.
        return True


def _may_be(selector: Mapping[str, Any], namespace: str) -> bool:
    """Whether a selector may select a namespace, of which the name alone is known."""
    labels = {key: value for key, value in mapping(selector.get("matchLabels")).items() if key == _NAMESPACE}
    expressions = [one for _, one in mappings(selector.get("matchExpressions")) if one.get("key") == _NAMESPACE]
    return matches({"matchLabels": labels, "matchExpressions": expressions}, {_NAMESPACE: namespace})


def _target_port(service: Thing, port: int) -> int | None:
    for _, one in mappings(dig(service.tree, "spec", "ports")):
        if one.get("port") == port:
            target = one.get("targetPort", port)
            return target if isinstance(target, int) else None
    return port


def _is_behind(service: Thing, pod: Pod) -> bool:
    selector = mapping(dig(service.tree, "spec", "selector"))
    return bool(selector) and matches({"matchLabels": selector}, pod.labels)
