"""Whether NetworkPolicies let the nodes of a Ray cluster talk with each other, without which there is no cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from hydra_ray.k8s.check.pods.find import Pod
from hydra_ray.k8s.check.problems import Problem
from hydra_ray.k8s.check.reading.objects import Thing, dig, items, mapping, mappings
from hydra_ray.k8s.check.relations.known import Known
from hydra_ray.k8s.check.relations.selectors import matches

# Each way with the key of its rules' peers.
_WAYS = {"egress": "to", "ingress": "from"}
# Where a head listens for its workers.
_GCS = 6379


def check_nodes(things: Sequence[Thing], pods: Mapping[Thing, Sequence[Pod]], known: Known) -> Iterator[Problem]:
    """Yield policies that keep nodes of one Ray cluster from each other.

    A policy that is made elsewhere may open the way, so where one is named nothing is said.

    Args:
        things: Objects that are applied together.
        pods: Templates of pods of each.
        known: What else there is.
    """
    if any(kind == "NetworkPolicy" for kind, _ in known.elsewhere):
        return
    policies = [thing for thing in things if thing.kind == "NetworkPolicy"]
    for own in pods.values():
        nodes = [pod for pod in own if pod.group]
        for one, other in product(nodes, nodes):
            # A group may be one pod, and a pod needs no policy to reach itself.
            if one is not other:
                yield from _closed(one, other, policies)


def _closed(one: Pod, other: Pod, policies: Sequence[Thing]) -> Iterator[Problem]:
    """Policies that keep one node's pods from another's, on either side."""
    port = _GCS if other.group == "headgroup" else None
    for way, pod, peer in (("egress", one, other), ("ingress", other, one)):
        over = [policy for policy in policies if applies(policy, way, pod)]
        rules = [rule for policy in over for _, rule in mappings(dig(policy.tree, "spec", way))]
        if over and not any(_lets(rule, _WAYS[way], peer, other, port) for rule in rules):
            said = f"no rule lets {one.group} of {one.thing.shown} go to {other.group}: they are one Ray cluster"
            yield over[0].problem(f"spec.{way}", said)


def applies(policy: Thing, way: str, pod: Pod) -> bool:
    """Return whether a NetworkPolicy bounds where pods go (`egress`) or who comes to them (`ingress`)."""
    spec = mapping(policy.tree.get("spec"))
    types = items(spec.get("policyTypes"))
    # As Kubernetes, where no types are told.
    bounded = way.capitalize() in types if types else way == "ingress" or way in spec
    return bounded and matches(mapping(spec.get("podSelector")), pod.labels)


def _lets(rule: Mapping[str, Any], key: str, peer: Pod, target: Pod, port: int | None) -> bool:
    ports, peers = mappings(rule.get("ports")), mappings(rule.get(key))
    opens = not ports or any(_is_at(one, target, port) for _, one in ports)
    return opens and (not peers or any(_may_be(one, peer) for _, one in peers))


def _is_at(port: Mapping[str, Any], target: Pod, wanted: int | None) -> bool:
    number = port.get("port")
    if port.get("protocol", "TCP") != "TCP":
        return False
    if isinstance(number, str):
        number = target.port_number(number)
    # A name that nobody declares may be one of KubeRay's own.
    return wanted is None or number is None or number <= wanted <= port.get("endPort", number)


def _may_be(peer: Mapping[str, Any], pod: Pod) -> bool:
    """Whether a peer of a rule may be a pod; addresses and namespaces are not known, and taken for a yes."""
    return "ipBlock" in peer or matches(mapping(peer.get("podSelector")), pod.labels)
