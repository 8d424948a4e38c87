"""Rules of network policies and of disruption budgets."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hydra_ray.k8s.check.problems import shown
from hydra_ray.k8s.check.reading.objects import Thing, dig, items, mapping, mappings, text

_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_PORT_NAME, _PORTS = 15, 65536
_PERCENT = re.compile(r"(\d{1,2}|100)%")


def policy_problems(thing: Thing) -> Iterator[tuple[str, str]]:
    """Yield addresses and ports of a NetworkPolicy that are none."""
    for field, peers in (("ingress", "from"), ("egress", "to")):
        for place, rule in mappings(dig(thing.tree, "spec", field)):
            path = f"spec.{field}[{place}]"
            for number, peer in mappings(rule.get(peers)):
                yield from _peer(f"{path}.{peers}[{number}]", peer)
            for number, port in mappings(rule.get("ports")):
                yield from _port(f"{path}.ports[{number}]", port)


def budget_problems(thing: Thing) -> Iterator[tuple[str, str]]:
    """Yield what a PodDisruptionBudget cannot ask for."""
    spec = mapping(thing.tree.get("spec"))
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield "spec.maxUnavailable", "it is beside minAvailable: a budget says one of the two"
    for field in ("minAvailable", "maxUnavailable"):
        value = spec.get(field)
        if isinstance(value, str) and not _PERCENT.fullmatch(value):
            yield f"spec.{field}", f"{shown(value)} is neither a number nor 0% to 100%"
        elif isinstance(value, int) and value < 0:
            yield f"spec.{field}", f"{value} is below 0"


def _peer(path: str, peer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    block = mapping(peer.get("ipBlock"))
    if not peer:
        yield path, "it is empty: a peer is an ipBlock, a podSelector or a namespaceSelector"
    if block and len(peer) > 1:
        yield path, "ipBlock stands alone: no podSelector or namespaceSelector beside it"
    if not block:
        return
    whole = _network(block.get("cidr"))
    if whole is None:
        yield f"{path}.ipBlock.cidr", f"{shown(block.get('cidr'))} is no block of addresses, e.g. 10.0.0.0/8"
    for place, one in enumerate(items(block.get("except"))):
        inner, below = _network(one), f"{path}.ipBlock.except[{place}]"
        if inner is None:
            yield below, f"{shown(one)} is no block of addresses, e.g. 10.0.0.0/8"
        elif whole is not None and not _is_inside(inner, whole):
            yield below, f"{shown(one)} is not strictly inside {whole}"


def _network(value: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if "/" not in text(value):
        return None
    try:
        return ipaddress.ip_network(text(value), strict=False)
    except ValueError:
        return None


def _is_inside(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network, whole: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if inner.version != whole.version or inner.prefixlen <= whole.prefixlen:
        return False
    return inner.network_address in whole


def _port(path: str, port: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    value, last = port.get("port"), port.get("endPort")
    if isinstance(value, int) and not 0 < value < _PORTS:
        yield f"{path}.port", f"{value} is no port: 1 to {_PORTS - 1}"
    if isinstance(value, str) and (len(value) > _LONGEST_PORT_NAME or not _PORT_NAME.fullmatch(value)):
        yield f"{path}.port", f"{shown(value)} is no name of a port: at most 15 small letters, digits and -"
    if last is None:
        return
    if not isinstance(value, int):
        yield f"{path}.endPort", "it wants port to be a number"
    elif not value <= last < _PORTS:
        yield f"{path}.endPort", f"{last} is no port from {value} to {_PORTS - 1}"
