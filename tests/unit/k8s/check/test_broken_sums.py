"""What does not fit at its most is refused: replicas, times, queues, GPUs of jobs, connections."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from good import SERVE, Objects, checked, drop, objects, put
from hypothesis import given as any_of
from hypothesis import strategies as st

from hydra_ray.k8s.check.sums.connections import HOLDS
from hydra_ray.k8s.check.sums.demand import Demand, most_replicas
from hydra_ray.k8s.check.sums.placing import fits_a_node, unplaced
from hydra_ray.k8s.check.sums.supply import NodeGroup, supply

HYDRA = "RayService/hydra"
SERVED = "spec.serveConfigV2.applications[0]"
WORKERS = "spec.rayClusterConfig.workerGroupSpecs"
# An engine beside ours, on GPUs.
ENGINE: dict[str, Any] = {
    "name": "llm",
    "route_prefix": None,
    "import_path": "hydra_ray.runtime.vllm_app:build",
    "args": {"generator": {"backend": "vllm", "model": "m", "vllm": {"device": "gpu", "max_queued_requests": 512}}},
}


def serving(given: Objects, *changes: Any) -> Objects:
    """The same with changes of the Serve config."""
    config = yaml.safe_load(SERVE)
    for change in changes:
        change(config)
    given[HYDRA]["spec"]["serveConfigV2"] = yaml.safe_dump(config)
    return given


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (
            put("applications.0.deployments.1.autoscaling_config.max_replicas", 40),
            WORKERS,
            "25 of Reranker, 1 of Retriever. All ask for 21.7 CPUs, 0 GPUs and 21 GiB",
        ),
        (
            put("applications.0.deployments.1.ray_actor_options", {"num_cpus": 5}),
            f"{SERVED}.deployments[1]",
            "a replica of Reranker (5 CPUs, 0.5 GiB) fits no node: 1 of head (0 CPUs, 0 GPUs, 8 GiB), 2 of cpu (4 CPUs",
        ),
        (
            put("applications.0.args.serve", {"index_cache_mb": 9000}),
            SERVED,
            "a replica of Retriever (0.2 CPUs, 8.79 GiB) fits no node",
        ),
        (
            put("applications.0.deployments.1.max_replicas_per_node", 1),
            None,
            "",
        ),
        (
            put("applications.0.deployments.1", {"name": "Reranker", "num_replicas": 3, "max_replicas_per_node": 1}),
            WORKERS,
            "1 of Reranker",
        ),
        (
            put("applications.0.deployments.1", {"name": "Generator", "graceful_shutdown_timeout_s": 20}),
            f"{SERVED}.deployments[1].graceful_shutdown_timeout_s",
            "20 s is shorter than the longest request (190 s)",
        ),
        (
            put("applications.0.deployments.0.max_ongoing_requests", 500),
            "spec.serveConfigV2",
            "raise its max_queued_requests",
        ),
    ],
)
def test_what_does_not_fit_at_its_most_is_refused_for_its_own_reason(change, path, said, tmp_path):
    problems = checked(serving(objects(), change), tmp_path).problems
    if path is None:
        assert problems == []
        return
    assert {problem.path for problem in problems} == {path}
    assert all(said in problem.text for problem in problems)


@pytest.mark.parametrize(
    ("object_", "change", "path", "said"),
    [
        (
            HYDRA,
            put(f"{WORKERS}.0.template.spec.terminationGracePeriodSeconds", 120),
            f"{WORKERS}[0].template.spec.terminationGracePeriodSeconds",
            "120 s is shorter than what a pod may have to end: 190 s (a request and its generation)",
        ),
        (
            HYDRA,
            drop("spec.rayClusterDeletionDelaySeconds"),
            "spec.rayClusterDeletionDelaySeconds",
            "60 s after an upgrade the old cluster goes",
        ),
        (
            "PodDisruptionBudget/hydra",
            put("spec.minAvailable", 5),
            "spec.minAvailable",
            "5 of at most 2 pods: none of them could ever be evicted",
        ),
        ("RayJob/learn", put("spec.entrypointNumCpus", 5), "spec.entrypointNumCpus", "no node has 5 CPUs"),
        (
            "RayJob/learn",
            put("spec.entrypoint", "hydra-ray train /etc/hydra-ray/settings.yaml base.gpu=true base.workers=2"),
            "spec.entrypoint",
            "base.workers (2) asks for 2 GPUs, 1 on a node; there are 1 of head (0 GPUs), 1 of cpu (0 GPUs)",
        ),
        (
            "RayJob/learn",
            put(
                "spec.entrypoint",
                "hydra-ray collect /etc/hydra-ray/settings.yaml generator.backend=vllm generator.vllm.device=gpu",
            ),
            "spec.entrypoint",
            "generator.vllm.max_replicas (1) asks for 1 GPUs",
        ),
        (
            "ServiceAccount/hydra",
            put("metadata.annotations", {HOLDS: "20"}),
            f"{SERVED}.args.store",
            "33 connections may be open to postgresql+psycopg://hydra@postgres/hydra",
        ),
        (
            "ServiceAccount/hydra",
            put("metadata.annotations", {HOLDS: "many"}),
            f'metadata.annotations["{HOLDS}"]',
            "how many connections",
        ),
        (
            "RayJob/learn",
            put("spec.entrypoint", "hydra-ray collect /etc/hydra-ray/settings.yaml store.max_connections=64"),
            "spec.entrypoint",
            "store.max_connections is 64 here and 32 in RayService/hydra",
        ),
    ],
)
def test_objects_that_do_not_fit_are_refused_for_their_own_reason(object_, change, path, said, tmp_path):
    given = objects()
    change(given[object_])
    (problem,) = checked(given, tmp_path).problems
    assert problem.path == path
    assert said in problem.text


def test_a_database_that_holds_all_is_fine_and_one_that_is_not_known_is_noted(tmp_path):
    given = objects()
    assert any("annotation hydra-ray/database-connections" in note for note in checked(given, tmp_path).notes)
    given["ServiceAccount/hydra"]["metadata"]["annotations"] = {HOLDS: "100"}
    report = checked(given, tmp_path)
    assert report.problems == []
    assert not any("database-connections" in note for note in report.notes)


def test_without_a_cap_every_process_counts(tmp_path):
    given = serving(objects(), put("applications.0.args.store.max_connections", None))
    given["ServiceAccount/hydra"]["metadata"]["annotations"] = {HOLDS: "100"}
    given = {name: one for name, one in given.items() if not name.startswith(("RayJob", "RayCronJob"))}
    assert checked(given, tmp_path).problems == []
    given["ServiceAccount/hydra"]["metadata"]["annotations"] = {HOLDS: "50"}
    # Two of Ingress and Reranker, one of Retriever, Adapter, Profiler and Refitter at most.
    assert "processes of 8" in checked(given, tmp_path).problems[0].text


@pytest.mark.parametrize(("gpus", "groups", "fits"), [(4, 4, True), (2, 4, False), (0, 4, False), (4, 1, False)])
def test_engines_want_gpus(gpus, groups, fits, tmp_path):
    given = serving(
        objects(),
        lambda config: config["applications"].append(ENGINE),
        put("applications.0.args.generator", {"backend": "vllm"}),
        put("applications.1.args.generator.vllm.tensor_parallel", 4),
        put("applications.1.args.generator.vllm.max_replicas", 2),
    )
    cluster = given[HYDRA]["spec"]["rayClusterConfig"]
    group = yaml.safe_load(yaml.safe_dump(cluster["workerGroupSpecs"][0]))
    group |= {"groupName": "gpu", "maxReplicas": groups}
    for amounts in group["template"]["spec"]["containers"][0]["resources"].values():
        amounts["nvidia.com/gpu"] = str(gpus)
    cluster["workerGroupSpecs"].append(group)
    ENGINE["args"]["generator"]["vllm"].pop("tensor_parallel", None)
    problems = checked(given, tmp_path).problems
    assert (problems == []) is fits, problems


def demand(name: str, replicas: int, cpus: float, gpus: float = 0.0, per_node: float = float("inf")) -> Demand:
    return Demand(name, name, replicas, cpus, gpus, 0, per_node)


def test_large_replicas_are_placed_first_and_nodes_without_gpus_filled_first():
    nodes = [NodeGroup("gpu", 1, 4, 1, 1e9), NodeGroup("cpu", 1, 4, 0, 1e9)]
    assert unplaced([demand("step", 8, 0.5), demand("engine", 1, 1, 1)], nodes) == {}
    assert unplaced([demand("step", 14, 0.5), demand("engine", 1, 1, 1)], nodes) == {}
    assert unplaced([demand("step", 15, 0.5), demand("engine", 1, 1, 1)], nodes) == {"step": 1}


@any_of(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40), st.integers(0, 2)), max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 2)), max_size=4),
)
def test_what_is_placed_is_no_more_than_there_is(asked, nodes):
    demands = [demand(str(place), count, tenths / 10, gpus) for place, (count, tenths, gpus) in enumerate(asked)]
    groups = [NodeGroup(str(place), count, cpus, gpus, 1e9) for place, (count, cpus, gpus) in enumerate(nodes)]
    left = unplaced(demands, groups)
    placed = [(one, one.replicas - left.get(one.name, 0)) for one in demands]
    assert sum(one.cpus * count for one, count in placed) <= sum(group.cpus * group.nodes for group in groups) + 1e-3
    assert sum(one.gpus * count for one, count in placed) <= sum(group.gpus * group.nodes for group in groups)
    for one, count in placed:
        assert fits_a_node(one, groups) or count == 0


@pytest.mark.parametrize(
    ("deployment", "most"),
    [
        ({}, 1),
        ({"num_replicas": 3}, 3),
        ({"num_replicas": "auto"}, 100),
        ({"num_replicas": "auto", "autoscaling_config": {"max_replicas": 7}}, 7),
        ({"autoscaling_config": {"min_replicas": 1, "max_replicas": 7}}, 7),
        ({"autoscaling_config": {"target_ongoing_requests": 4}}, 1),
    ],
)
def test_most_replicas_of_a_deployment(deployment, most):
    assert most_replicas(deployment) == most


def test_nodes_are_counted_as_the_operator_counts_them():
    box = {"resources": {"limits": {"cpu": "2500m", "memory": "1Gi", "nvidia.com/gpu": 2}}}
    template = {"spec": {"containers": [box]}}
    cluster = {
        "enableInTreeAutoscaling": True,
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": template},
        "workerGroupSpecs": [
            {"groupName": "a", "replicas": 1, "maxReplicas": 3, "numOfHosts": 2, "template": template},
            {"groupName": "b", "maxReplicas": 1, "resources": {"CPU": "7"}, "template": template},
        ],
    }
    head, a, b = supply(cluster)
    assert (head.cpus, head.nodes, head.gpus) == (0, 1, 2)
    assert (a.cpus, a.nodes, a.gpus, a.memory) == (3, 6, 2, 2**30)
    assert (b.cpus, b.nodes) == (7, 1)
    fixed = [group.nodes for group in supply({**cluster, "enableInTreeAutoscaling": False})]
    assert fixed == [1, 2, 0]
