"""Policies that let pods go somewhere, and not to DNS or to what settings name, are refused for their own reason."""

from __future__ import annotations

from typing import Any

import pytest
from good import SERVE, checked, drop, objects, put

HYDRA, POLICY = "RayService/hydra", "NetworkPolicy/hydra"
# Numbers of the rules of `open_policy`.
EACH_OTHER, DNS, LLM, DATABASE = range(4)


def rule(peers: list[dict[str, Any]], port: Any, protocol: str = "TCP", **more: Any) -> dict[str, Any]:
    return {"to": peers, "ports": [{"protocol": protocol, "port": port, **more}]}


def namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def outside(cidr: str = "0.0.0.0/0", **more: Any) -> dict[str, Any]:
    return {"ipBlock": {"cidr": cidr, **more}}


def open_policy() -> list[dict[str, Any]]:
    """Egress as `good.SERVE` wants it."""
    return [
        {"to": [{"podSelector": {"matchLabels": {"app": "hydra"}}}]},
        rule([namespace("kube-system")], 53, "UDP"),
        rule([outside()], 443),
        rule([{"podSelector": {}}], 5432),
    ]


@pytest.fixture
def given():
    """Good objects, with a policy of egress."""
    given = objects()
    given[POLICY]["spec"] |= {"policyTypes": ["Ingress", "Egress"], "egress": open_policy()}
    return given


def test_a_policy_that_lets_pods_go_where_they_have_to_is_none_to_mend(given, tmp_path):
    assert checked(given, tmp_path).problems == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop(f"{DNS}"), "go to DNS (UDP 53)"),
        (put(f"{DNS}.ports.0.protocol", "TCP"), "go to DNS (UDP 53)"),
        (put(f"{DNS}.to", [{"podSelector": {}}]), "go to DNS (UDP 53)"),
        (drop(f"{LLM}"), "go to llm.example.com:443 (generator.base_url)"),
        (put(f"{LLM}.ports.0.port", 80), "go to llm.example.com:443 (generator.base_url)"),
        (put(f"{LLM}.to", [namespace("models")]), "go to llm.example.com:443 (generator.base_url)"),
        (put(f"{LLM}.to", [{"podSelector": {}}]), "go to llm.example.com:443 (generator.base_url)"),
        (drop(f"{DATABASE}"), "go to postgres:5432 (store.url)"),
        (put(f"{DATABASE}.ports.0.port", 6432), "go to postgres:5432 (store.url)"),
        (put(f"{DATABASE}.ports.0.protocol", "UDP"), "go to postgres:5432 (store.url)"),
        (
            put(f"{DATABASE}.to", [{"podSelector": {"matchLabels": {"app": "hydra"}}}]),
            "go to postgres:5432 (store.url)",
        ),
    ],
)
def test_a_way_that_is_closed_is_refused_for_its_own_reason(change, said, given, tmp_path):
    change(given[POLICY]["spec"]["egress"])
    (problem,) = checked(given, tmp_path).problems
    assert (problem.object, problem.path) == (POLICY, "spec.egress")
    assert f"no rule lets pods of RayService/hydra {said}" in problem.text


@pytest.mark.parametrize(
    "egress",
    [
        [{}],
        [{"ports": [{"protocol": "UDP"}, {"protocol": "TCP"}]}],
        [rule([outside(), {"podSelector": {}}], 1, endPort=9000), rule([outside()], 53, "UDP")],
        [*open_policy()[:DATABASE], rule([{"podSelector": {}}], "postgres")],
        [*open_policy()[:DATABASE], rule([{"namespaceSelector": {}}], 5432)],
    ],
    ids=["all", "all ports", "a range", "a name of a port", "all namespaces"],
)
def test_wider_rules_let_pods_go_as_well(egress, given, tmp_path):
    given[POLICY]["spec"]["egress"] = egress
    assert checked(given, tmp_path).problems == []


@pytest.mark.parametrize("spec", [{"policyTypes": ["Egress"]}, {"policyTypes": ["Egress"], "egress": []}])
def test_a_policy_that_closes_every_way_is_told_each_of_them(spec, given, tmp_path):
    given[POLICY]["spec"] = {"podSelector": {"matchLabels": {"app": "hydra"}}, **spec}
    found = [problem.text.partition(" go to ")[2] for problem in checked(given, tmp_path).problems]
    nodes = ["headgroup:", "cpu:"]
    assert [text.split()[0] for text in found] == [*nodes, "DNS", "llm.example.com:443", "postgres:5432"]


def test_a_policy_without_types_is_of_egress_where_it_has_rules(given, tmp_path):
    del given[POLICY]["spec"]["policyTypes"]
    del given[POLICY]["spec"]["egress"][DATABASE]
    (problem,) = checked(given, tmp_path).problems
    assert "postgres:5432" in problem.text
    del given[POLICY]["spec"]["egress"]
    assert checked(given, tmp_path).problems == []


def test_what_one_policy_closes_another_may_open(given, tmp_path):
    apart = [open_policy()[:DATABASE], open_policy()[DATABASE:]]
    given[POLICY]["spec"]["egress"] = apart[0]
    labels = {"app": "hydra", "ray.io/node-type": "worker"}
    more = {"podSelector": {"matchLabels": labels}, "policyTypes": ["Egress"], "egress": apart[1]}
    given["more"] = {**given[POLICY], "metadata": {"name": "more"}, "spec": more}
    # The head asks the database, too.
    (problem,) = checked(given, tmp_path).problems
    assert "postgres:5432" in problem.text
    del labels["ray.io/node-type"]
    assert checked(given, tmp_path).problems == []


def test_a_policy_that_is_made_elsewhere_may_open_the_way(given, tmp_path):
    given[POLICY]["spec"]["egress"] = []
    assert checked(given, tmp_path).problems
    assert checked(given, tmp_path, ["NetworkPolicy/more"]).problems == []


def test_pods_of_jobs_go_where_their_own_settings_say(given, tmp_path):
    given[POLICY]["spec"]["podSelector"] = {"matchLabels": {"app": "learning"}}
    given[POLICY]["spec"].pop("ingress")
    given[POLICY]["spec"]["policyTypes"] = ["Egress"]
    given[POLICY]["spec"]["egress"][EACH_OTHER]["to"][0]["podSelector"]["matchLabels"]["app"] = "learning"
    given[POLICY]["spec"]["egress"][LLM] = rule([outside()], 8443)
    given["ConfigMap/settings"]["data"]["settings.yaml"] = given["ConfigMap/settings"]["data"]["settings.yaml"].replace(
        "https://llm.example.com/v1", "https://llm.example.com:8443/v1"
    )
    assert checked(given, tmp_path).problems == []
    del given[POLICY]["spec"]["egress"][LLM]
    problems = checked(given, tmp_path).problems
    assert {problem.text.partition(" go to ")[0].rpartition(" ")[2] for problem in problems} == {
        "RayJob/learn",
        "RayCronJob/refit",
    }
    assert all("llm.example.com:8443 (generator.base_url)" in problem.text for problem in problems)


@pytest.mark.parametrize(
    ("url", "peer", "is_open"),
    [
        ("http://vllm.models.svc.cluster.local:8080/v1", namespace("models"), True),
        ("http://vllm.models:8080/v1", namespace("models"), True),
        ("http://vllm.models.svc:8080/v1", namespace("other"), False),
        ("http://vllm.models.svc:8080/v1", {"podSelector": {}}, False),
        ("http://192.0.2.7:8080/v1", outside("192.0.2.0/24"), True),
        ("http://192.0.2.7:8080/v1", outside("198.51.100.0/24"), False),
        ("http://192.0.2.7:8080/v1", outside("192.0.2.0/24", **{"except": ["192.0.2.0/28"]}), False),
        ("http://192.0.2.7:8080/v1", namespace("models"), False),
    ],
)
def test_where_a_host_is_says_which_peers_it_may_be(url, peer, is_open, given, tmp_path):
    given[HYDRA]["spec"]["serveConfigV2"] = SERVE.replace("https://llm.example.com/v1", url)
    given[POLICY]["spec"]["egress"][LLM] = rule([peer], 8080)
    problems = checked(given, tmp_path).problems
    assert ([] if is_open else [POLICY]) == [problem.object for problem in problems]
    assert all("(generator.base_url)" in problem.text for problem in problems)


@pytest.mark.parametrize(
    ("endpoint", "port", "said"),
    [
        (None, 443, ""),
        ({"value": "http://minio:9000"}, 9000, ""),
        ({"value": "http://minio:9000"}, 9001, "go to minio:9000 (registry.url)"),
        ({"valueFrom": {"configMapKeyRef": {"name": "settings", "key": "settings.yaml"}}}, 9001, ""),
    ],
)
def test_the_object_store_is_where_a_variable_says(endpoint, port, said, given, tmp_path):
    config = SERVE.replace("out: /data/hydra", "out: /data/hydra\n      registry: {url: 's3://models/hydra'}")
    given[HYDRA]["spec"]["serveConfigV2"] = config
    given[POLICY]["spec"]["egress"].append(rule([{"podSelector": {}}], port))
    cluster = given[HYDRA]["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        if endpoint is not None:
            group["template"]["spec"]["containers"][0]["env"].append({"name": "AWS_ENDPOINT_URL", **endpoint})
    problems = checked(given, tmp_path).problems
    assert len(problems) == bool(said)
    assert all(said in problem.text for problem in problems)


def test_redis_is_reached_as_well(given, tmp_path):
    cluster = given[HYDRA]["spec"]["rayClusterConfig"]
    cluster["gcsFaultToleranceOptions"] = {"redisAddress": "redis:6379"}
    (problem,) = checked(given, tmp_path).problems
    assert "redis:6379 (gcsFaultToleranceOptions.redisAddress)" in problem.text
    given[POLICY]["spec"]["egress"].append(rule([{"podSelector": {}}], 6379))
    assert checked(given, tmp_path).problems == []


def test_rules_are_of_the_port_that_the_pods_of_a_service_have(given, tmp_path):
    container = {"name": "db", "image": "postgres:18", "securityContext": {"allowPrivilegeEscalation": False}}
    container["securityContext"] |= {"capabilities": {"drop": ["ALL"]}}
    spec = {
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 70, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    given["Pod/postgres"] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "postgres", "labels": {"app": "postgres"}},
        "spec": spec,
    }
    service = {"selector": {"app": "postgres"}, "ports": [{"port": 5432, "targetPort": 6000}]}
    given["Service/postgres"] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "postgres"},
        "spec": service,
    }
    (problem,) = checked(given, tmp_path).problems
    assert "postgres:5432 (store.url)" in problem.text
    given[POLICY]["spec"]["egress"][DATABASE] = rule([{"podSelector": {"matchLabels": {"app": "postgres"}}}], 6000)
    assert checked(given, tmp_path).problems == []
    given[POLICY]["spec"]["egress"][DATABASE] = rule([{"podSelector": {"matchLabels": {"app": "learning"}}}], 6000)
    (problem,) = checked(given, tmp_path).problems
    assert "postgres:5432 (store.url)" in problem.text


@pytest.mark.parametrize(
    ("way", "rules", "closed"),
    [
        ("ingress", [{"ports": [{"port": "serve"}]}], "headgroup"),
        ("ingress", [{"ports": [{"port": 8000, "endPort": 9000}]}], "headgroup"),
        ("ingress", [{"from": [{"podSelector": {"matchLabels": {"ray.io/node-type": "head"}}}]}], "headgroup"),
        ("ingress", [{"from": [{"podSelector": {"matchLabels": {"ray.io/node-type": "worker"}}}]}], "cpu"),
        ("egress", [*open_policy()[1:], {"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]}], "headgroup"),
    ],
)
def test_a_policy_that_keeps_nodes_of_a_cluster_apart_is_refused(way, rules, closed, given, tmp_path):
    given[POLICY]["spec"] = {
        "podSelector": {"matchLabels": {"app": "hydra"}},
        "policyTypes": [way.capitalize()],
        way: rules,
    }
    texts = [problem.text for problem in checked(given, tmp_path).problems if problem.path == f"spec.{way}"]
    assert [text.partition(" go to ")[2].partition(":")[0] for text in texts if "one Ray cluster" in text] == [closed]


@pytest.mark.parametrize(
    "rules",
    [
        [{}],
        [{"ports": [{"port": 6379, "endPort": 6380}]}],
        [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
        [{"from": [{"podSelector": {"matchLabels": {"ray.io/is-ray-node": "yes"}}}]}],
    ],
)
def test_a_policy_that_lets_nodes_come_to_each_other_is_none_to_mend(rules, given, tmp_path):
    given[POLICY]["spec"] = {"podSelector": {"matchLabels": {"app": "hydra"}}, "ingress": rules}
    assert checked(given, tmp_path).problems == []
