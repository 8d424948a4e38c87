"""A volume that one node mounts, of pods that are on several, is refused."""

from __future__ import annotations

from typing import Any

import pytest
from good import checked, drop, objects, put

HYDRA = "RayService/hydra"
GROUP = "spec.rayClusterConfig.workerGroupSpecs.0"
POD = f"{GROUP}.template.spec"
APP = {"matchLabels": {"app": "hydra"}}
SPREAD = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "labelSelector": APP}
TERM = {"topologyKey": "kubernetes.io/hostname", "labelSelector": APP}


@pytest.fixture
def given():
    """Good objects, whose claim is of one node."""
    given = objects()
    given["PersistentVolumeClaim/data"]["spec"]["accessModes"] = ["ReadWriteOnce"]
    return given


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: None, "there may be 2 of these pods, on as many nodes"),
        (put(f"{GROUP}.maxReplicas", 7), "there may be 7 of these pods"),
        (
            put(f"{POD}.topologySpreadConstraints", [{**SPREAD, "whenUnsatisfiable": "ScheduleAnyway"}]),
            "these 2 pods are spread over nodes (topologySpreadConstraints)",
        ),
        (put(f"{POD}.nodeSelector", {"disk": "fast"}), "there may be 2 of these pods"),
    ],
)
def test_several_pods_of_a_volume_of_one_node_are_refused(change, said, given, tmp_path):
    change(given[HYDRA])
    (problem,) = checked(given, tmp_path).problems
    path = "spec.rayClusterConfig.workerGroupSpecs[0].template.spec.volumes[0].persistentVolumeClaim"
    assert (problem.object, problem.path) == (HYDRA, path)
    assert f'one node mounts the claim "data" (ReadWriteOnce), and {said}' in problem.text


@pytest.mark.parametrize(
    "change",
    [
        put(f"{GROUP}.maxReplicas", 1),
        put(f"{POD}.nodeSelector", {"kubernetes.io/hostname": "one"}),
        put(f"{POD}.affinity", {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [TERM]}}),
    ],
    ids=["one pod", "one node by name", "held together"],
)
def test_pods_that_are_on_one_node_pass(change, given, tmp_path):
    change(given[HYDRA])
    # One pod of each kind is no more than a budget wants.
    drop("spec.minAvailable")(given["PodDisruptionBudget/hydra"])
    put("spec.maxUnavailable", 1)(given["PodDisruptionBudget/hydra"])
    found = [one.text for one in checked(given, tmp_path).problems]
    assert not any("one node mounts" in text for text in found), found


@pytest.mark.parametrize("modes", [["ReadWriteMany"], ["ReadWriteOnce", "ReadWriteMany"], ["ReadOnlyMany"]])
def test_a_volume_of_many_nodes_passes(modes, given, tmp_path):
    given["PersistentVolumeClaim/data"]["spec"]["accessModes"] = modes
    assert checked(given, tmp_path).problems == []


def test_a_claim_that_is_elsewhere_is_not_known(given, tmp_path):
    del given["PersistentVolumeClaim/data"]
    assert checked(given, tmp_path, ["PersistentVolumeClaim/data"]).problems == []


def deployment(kind: str, **spec: Any) -> dict[str, Any]:
    """An object of Kubernetes' own that makes pods like those of the service."""
    template = objects()[HYDRA]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]
    own = {"selector": APP} if kind != "Job" else {}
    if kind == "Job":
        template["spec"]["restartPolicy"] = "Never"
    api = "batch/v1" if kind == "Job" else "apps/v1"
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": "more"},
        "spec": {**own, "template": template, **spec},
    }


@pytest.mark.parametrize(
    ("made", "count"),
    [
        (deployment("Deployment", replicas=3), 3),
        (deployment("Deployment"), 0),
        (deployment("Job", parallelism=4), 4),
        (deployment("DaemonSet"), 2),
    ],
    ids=lambda one: one["kind"] if isinstance(one, dict) else str(one),
)
def test_pods_of_other_objects_are_counted_as_well(made, count, given, tmp_path):
    put(f"{GROUP}.maxReplicas", 1)(given[HYDRA])
    given["more"] = made
    found = [one.text for one in checked(given, tmp_path).problems if one.object.endswith("/more")]
    assert [f"there may be {count} of these pods" in text for text in found] == [True] * bool(count)
