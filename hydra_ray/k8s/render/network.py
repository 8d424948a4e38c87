"""Who may talk with the pods, and with whom they may: nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hydra_ray.k8s.destinations import S3, host_and_port, named_urls, redis_url
from hydra_ray.k8s.render.pods import Component
from hydra_ray.k8s.render.serving import PORT, Served
from hydra_ray.k8s.settings.cluster import ClusterSettings

_DASHBOARD, _METRICS = 8265, 8080


def network_policies(cluster: ClusterSettings, served: Served, learner: Served) -> list[dict[str, Any]]:
    """Return the policies of the pods that serve, of those that learn, and of heads with an autoscaler."""
    if not cluster.network.enabled:
        return []
    network = cluster.network
    operator = _rule("from", [_namespace(network.operator_namespace)], _DASHBOARD, PORT)
    prometheus = _rule("from", [_namespace(network.monitoring_namespace)], _METRICS)
    gateway = _rule("from", [_namespace(cluster.gateway_namespace)], PORT)
    dns = _rule("to", [_namespace(network.dns_namespace)], 53, protocols=("UDP", "TCP"))
    if network.dns_addresses is not None:
        dns["to"].append({"ipBlock": {"cidr": network.dns_addresses}})
    always = [dns]
    if network.credentials is not None:
        always.append(_rule("to", [{"ipBlock": {"cidr": network.credentials}}], 80))
    out, learners_out = (
        [*always, *(_rule("to", [peer], port) for peer, port in _outside(cluster, who))] for who in (served, learner)
    )
    heads = {**_labels(cluster), "ray.io/node-type": "head"}
    api = _rule("to", [{"ipBlock": {"cidr": network.api_server}}], 443, 6443)
    return [
        _policy(cluster, "serving", [gateway, operator, prometheus], out),
        # A job's submitter is a pod of the job, and asks its head's dashboard.
        _policy(cluster, "learning", [operator, prometheus], learners_out),
        {
            **_object(cluster, "heads"),
            "spec": {"podSelector": {"matchLabels": heads}, "policyTypes": ["Egress"], "egress": [api]},
        },
    ]


def _policy(
    cluster: ClusterSettings, component: Component, ingress: list[dict[str, Any]], egress: list[dict[str, Any]]
) -> dict[str, Any]:
    pods = {"matchLabels": _labels(cluster) | {"app.kubernetes.io/component": component}}
    each_other: list[dict[str, Any]] = [{"podSelector": pods}]
    return {
        **_object(cluster, component),
        "spec": {
            "podSelector": pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": each_other}, *ingress],
            "egress": [{"to": each_other}, *egress],
        },
    }


def _outside(cluster: ClusterSettings, served: Served) -> Iterator[tuple[dict[str, Any], int]]:
    """Where pods go: the LLM, the database, the object store, Redis, a collector of traces. Each but once."""
    urls = [("weights", "https://huggingface.co")] if served.engine is not None else []
    urls += named_urls(served.settings, cluster.s3.endpoint or S3)
    if cluster.redis.address is not None:
        urls.append(("redis.address", redis_url(cluster.redis.address)))
    found: list[tuple[dict[str, Any], int]] = []
    for name, url in urls:
        host, port = host_and_port(name, url)
        there = (_peer(cluster, host), port)
        if there not in found:
            found.append(there)
    yield from found


def _peer(cluster: ClusterSettings, host: str) -> dict[str, Any]:
    """Where a host is: `name` is of this namespace, `name.other.svc` of another one, all others are outside."""
    match host.split("."):
        case [name] if ":" not in name:
            return {"podSelector": {}}
        case [_, namespace, "svc", *_]:
            return _namespace(namespace)
    return {"ipBlock": {"cidr": cluster.network.outside}}


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _rule(way: str, peers: list[dict[str, Any]], *ports: int, protocols: tuple[str, ...] = ("TCP",)) -> dict[str, Any]:
    return {way: peers, "ports": [{"protocol": protocol, "port": port} for protocol in protocols for port in ports]}


def _labels(cluster: ClusterSettings) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": cluster.name}


def _object(cluster: ClusterSettings, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{cluster.name}-{name}"},
    }
