"""What keeps a lost node, an emptied node or a full cluster from taking all of a step."""

from __future__ import annotations

import pytest
from manifests import PROFILES, rendered

STEPS = {"Ingress", "Retriever", "Generator", "Adapter", "Profiler"}


@pytest.mark.parametrize("profile", ["openai", "gpu", "cluster"])
def test_every_step_scales_between_limits_and_before_it_is_full(profile):
    from ray.serve import Deployment

    from hydra_ray.serve import app

    most_at_once = {t.name: t.max_ongoing_requests for t in vars(app).values() if isinstance(t, Deployment)}
    told = {one["name"]: one for one in rendered(profile).serve_config["applications"][0]["deployments"]}
    assert told.keys() == STEPS
    for name, one in told.items():
        scaling = one["autoscaling_config"]
        assert 1 <= scaling["min_replicas"] < scaling["max_replicas"], name
        # A target that no replica reaches would add none: what waits is refused before.
        assert scaling["target_ongoing_requests"] < most_at_once[name], name


def test_every_step_of_a_cluster_is_on_two_nodes():
    made = rendered("cluster")
    told = made.serve_config["applications"][0]["deployments"]
    for one in told:
        # A Ray node has one of them at most, and Ray nodes are on nodes of their own.
        assert one["max_replicas_per_node"] == 1
        assert one["autoscaling_config"]["min_replicas"] >= 2
        assert one["autoscaling_config"]["max_replicas"] <= made.group("cpu")["maxReplicas"]
    assert made.served("llm").generator.vllm.min_replicas >= 2
    for name in ("cpu", "gpu"):
        group = made.group(name)
        assert group["minReplicas"] >= 2
        # A spread of at most one more than elsewhere would let three pods be on two nodes.
        (apart,) = group["template"]["spec"]["affinity"]["podAntiAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        labels = group["template"]["metadata"]["labels"] | {"ray.io/group": name}
        assert apart == {
            "labelSelector": {"matchLabels": labels},
            # The next cluster's pods may be beside those of the one before.
            "matchLabelKeys": ["ray.io/cluster"],
            "topologyKey": "kubernetes.io/hostname",
        }


def test_other_pods_share_a_node_rather_than_wait():
    for profile in ("openai", "gpu", "dev"):
        assert all("affinity" not in pod for _, pod in rendered(profile).pods()), profile
    jobs = [pod for where, pod in rendered("cluster").pods() if not where.startswith("RayService")]
    assert all("affinity" not in pod for pod in jobs)


def test_pods_are_spread_over_nodes_and_zones(manifests):
    for where, cluster in manifests.clusters():
        for group in cluster["workerGroupSpecs"]:
            labels = group["template"]["metadata"]["labels"]
            constraints = group["template"]["spec"]["topologySpreadConstraints"]
            assert [one["topologyKey"] for one in constraints] == [
                "kubernetes.io/hostname",
                "topology.kubernetes.io/zone",
            ], where
            for one in constraints:
                # KubeRay labels pods by group; the others are the template's own.
                selected = one["labelSelector"]["matchLabels"]
                assert selected == labels | {"ray.io/group": group["groupName"]}, where
                assert one["whenUnsatisfiable"] == "ScheduleAnyway", where


@pytest.mark.parametrize("profile", PROFILES)
def test_an_emptied_node_takes_no_more_pods_than_can_be_spared(profile):
    made = rendered(profile)
    budgets = made.all("PodDisruptionBudget")
    groups = {g["groupName"]: g for g in made.one("RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"]}
    assert budgets.keys() == {"hydra-ray-head", *(f"hydra-ray-{name}" for name in groups)}
    for name, group in groups.items():
        spec = budgets[f"hydra-ray-{name}"]["spec"]
        # Kubernetes cannot tell how many pods a RayCluster wants: it takes numbers, and at least.
        assert type(spec["minAvailable"]) is int
        assert 1 <= spec["minAvailable"] <= group["minReplicas"]
        if group["minReplicas"] > 1:
            assert spec["minAvailable"] < group["minReplicas"], "a node could never be emptied"
        labels = group["template"]["metadata"]["labels"] | {"ray.io/group": name}
        assert spec["selector"]["matchLabels"].items() <= labels.items()


def test_who_answers_goes_before_who_learns(manifests):
    values = {name: one["value"] for name, one in manifests.all("PriorityClass").items()}
    assert values["hydra-ray-serving.hydra-ray"] > values["hydra-ray-learning.hydra-ray"]
    assert manifests.one("PriorityClass", "learning.hydra-ray")["preemptionPolicy"] == "Never"
    for where, pod in manifests.pods():
        kind = "serving" if where.startswith("RayService") else "learning"
        assert pod["priorityClassName"] == f"hydra-ray-{kind}.hydra-ray", where


def test_two_services_of_one_name_share_no_priorities():
    mine, theirs = (set(rendered("openai", f"namespace={name}").all("PriorityClass")) for name in ("mine", "theirs"))
    assert not mine & theirs


@pytest.mark.parametrize("profile", ["openai", "gpu", "cluster"])
def test_hosts_that_wait_for_a_connection_have_a_place_each(profile):
    made = rendered(profile)
    hosts = sum(g["maxReplicas"] for g in made.one("RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"])
    # An eighth of the connections is for them (docs/serving.md).
    most = made.served().store.max_connections
    assert most // 8 >= hosts
    assert int(made.one("RayService")["metadata"]["annotations"]["hydra-ray/database-connections"]) > most
