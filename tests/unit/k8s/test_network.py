"""Who may reach the pods, and whom they may reach."""

from __future__ import annotations

from typing import Any

import pytest
from manifests import PROFILES, rendered


def policy(manifests, name: str) -> dict[str, Any]:
    return manifests.one("NetworkPolicy", name)["spec"]


def ports(rule: dict[str, Any]) -> set[int]:
    return {port["port"] for port in rule.get("ports", [])}


def reaches(manifests, name: str) -> set[tuple[str, int]]:
    """Where pods may go, besides each other: a namespace, an address or `here`, and a port."""
    found = set()
    for rule in policy(manifests, name)["egress"]:
        for peer in rule["to"]:
            if "ipBlock" in peer:
                place = peer["ipBlock"]["cidr"]
            elif "namespaceSelector" in peer:
                place = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            else:
                place = "here"
            found |= {(place, port) for port in ports(rule)}
    return found


DNS = ("kube-system", 53)
OUTSIDE = {
    "openai": {DNS, ("0.0.0.0/0", 443), ("here", 5432)},
    "gpu": {DNS, ("0.0.0.0/0", 443), ("here", 5432)},
    "cluster": {DNS, ("0.0.0.0/0", 443), ("here", 5432), ("here", 6379)},
    "dev": {DNS},
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", ["serving", "learning"])
def test_pods_reach_the_llm_the_database_and_the_storage_and_nobody_else(profile, name):
    assert reaches(rendered(profile), name) == OUTSIDE[profile]


def test_where_they_reach_follows_the_settings():
    made = rendered(
        "openai",
        "llm.base_url=http://vllm.models.svc.cluster.local:8080/v1",
        "postgresql.url=postgresql+psycopg://hydra@db.example.com:6432/hydra",
        "s3.models=s3://bucket/models",
        "s3.endpoint=http://minio:9000",
        "settings.observe.traces.otlp_endpoint=http://collector.tracing.svc:4318",
        "network.outside=192.0.2.0/24",
    )
    assert reaches(made, "serving") == {
        DNS,
        ("models", 8080),
        ("192.0.2.0/24", 6432),
        ("here", 9000),
        ("tracing", 4318),
    }


@pytest.mark.parametrize(
    ("address", "there"),
    [
        ("redis:6379", ("here", 6379)),
        ("rediss://r.example.com:6380", ("0.0.0.0/0", 6380)),
        ("r.data.svc:7000", ("data", 7000)),
    ],
)
def test_redis_is_reached_by_the_address_that_ray_is_told(address, there):
    assert reaches(rendered("cluster", f"redis.address={address}"), "serving") - OUTSIDE["cluster"] <= {there}
    assert there in reaches(rendered("cluster", f"redis.address={address}"), "serving")


def test_an_address_of_numbers_is_outside():
    for host in ("192.0.2.7", "[2001:db8::1]"):
        assert ("0.0.0.0/0", 8080) in reaches(rendered("openai", f"llm.base_url=http://{host}:8080/v1"), "serving")


def test_a_dns_cache_of_the_node_and_credentials_of_the_machine_are_reached_where_settings_say_so():
    told = ["network.dns_addresses=169.254.20.10/32", "network.credentials=169.254.170.23/32"]
    for name in ("serving", "learning"):
        found = reaches(rendered("cluster", *told), name)
        assert found == OUTSIDE["cluster"] | {("169.254.20.10/32", 53), ("169.254.170.23/32", 80)}


def test_jobs_reach_the_llm_that_their_own_settings_name():
    made = rendered("openai", "learning.generator.base_url=http://other.models.svc:8080/v1")
    assert ("models", 8080) in reaches(made, "learning")
    assert ("models", 8080) not in reaches(made, "serving")


@pytest.mark.parametrize("profile", PROFILES)
def test_only_the_gateway_and_the_cluster_come_in(profile):
    made = rendered(profile, "gateway.namespace=front")
    spec = policy(made, "serving")
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    each_other, *others = spec["ingress"]
    assert each_other == {"from": [{"podSelector": spec["podSelector"]}]}
    came = {
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: ports(rule)
        for rule in others
        for peer in rule["from"]
    }
    # KubeRay hands Serve configs to the dashboard, and Prometheus reads metrics.
    assert came == {"front": {8000}, "kuberay-system": {8265, 8000}, "monitoring": {8080}}
    learning = policy(made, "learning")["ingress"]
    assert "front" not in str(learning)


def test_every_pod_has_a_policy(manifests):
    selectors = [one["spec"]["podSelector"]["matchLabels"] for one in manifests.all("NetworkPolicy").values()]
    templates = [job["spec"]["submitterPodTemplate"] for job in manifests.all("RayJob").values()]
    templates += [manifests.one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]]
    for _, cluster in manifests.clusters():
        templates += [group["template"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]]
    for template in templates:
        labels = template["metadata"]["labels"]
        assert any(selector.items() <= labels.items() for selector in selectors), labels


def test_heads_alone_reach_kubernetes(manifests):
    spec = policy(manifests, "heads")
    assert spec["podSelector"]["matchLabels"]["ray.io/node-type"] == "head"
    assert [ports(rule) for rule in spec["egress"]] == [{443, 6443}]
    for name in ("serving", "learning"):
        assert 6443 not in {port for _, port in reaches(manifests, name)}


def test_it_can_be_left_out():
    assert rendered("openai", "network.enabled=false").all("NetworkPolicy") == {}


def test_kuberays_own_gateway_is_in_the_namespace_of_the_service():
    spec = policy(rendered("cluster", "namespace=ours"), "serving")
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ours"}}} in [
        peer for rule in spec["ingress"] for peer in rule["from"]
    ]
