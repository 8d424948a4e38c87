"""Objects that are not what their schema says are refused, each for its own reason and for no other."""

from __future__ import annotations

import sys

import pytest
from good import checked, drop, objects, put

from hydra_ray.k8s.check.schema.core import core_of
from hydra_ray.records import HydraError

_POD = "spec.rayClusterConfig.workerGroupSpecs.0.template.spec"
_SHOWN = "spec.rayClusterConfig.workerGroupSpecs[0].template.spec"


def test_the_good_one_has_no_problem(tmp_path):
    report = checked(objects(), tmp_path)
    assert [str(problem) for problem in report.problems] == []
    assert report.objects == 13


@pytest.mark.parametrize(
    ("object_", "change", "path", "said"),
    [
        ("RayService/hydra", put("spec.serveConfig", ""), "spec.serveConfig", "no such field: serveConfigV2 is meant?"),
        ("RayService/hydra", put(f"{_POD}.volume", []), f"{_SHOWN}.volume", "no such field: volumes is meant?"),
        (
            "RayService/hydra",
            put(f"{_POD}.containers.0.resource", {}),
            f"{_SHOWN}.containers[0].resource",
            "no such field: resources is meant?",
        ),
        (
            "RayService/hydra",
            put(f"{_POD}.containers.0.ports.0.containerPort", "8000"),
            f"{_SHOWN}.containers[0].ports[0].containerPort",
            '"8000" is text, not integer',
        ),
        (
            "RayJob/learn",
            put("spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy", "Sometimes"),
            "spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy",
            '"Sometimes" is none of Always, OnFailure, Never',
        ),
        ("RayService/hydra", drop(f"{_POD}.containers.0.name"), f"{_SHOWN}.containers[0].name", "it is missing"),
        (
            "RayService/hydra",
            put("spec.rayClusterConfig.autoscalerOptions.version", "v3"),
            "spec.rayClusterConfig.autoscalerOptions.version",
            '"v3" is none of v1, v2',
        ),
        (
            "RayService/hydra",
            put("spec.rayClusterConfig.workerGroupSpecs.0.maxReplicas", 2**31),
            "spec.rayClusterConfig.workerGroupSpecs[0].maxReplicas",
            "out of range",
        ),
        ("RayService/hydra", put("metadata.label", {}), "metadata.label", "no such field: labels is meant?"),
        ("RayService/hydra", put("spec.managedBy", "me"), "spec.managedBy", "must be either 'ray.io/kuberay-operator'"),
        (
            "RayCronJob/refit",
            put("spec.jobTemplate.deletionStrategy.deletionRules.0.condition", {"ttlSeconds": 1}),
            "spec.jobTemplate.deletionStrategy.deletionRules[0].condition",
            "requires either the JobStatus or the JobDeploymentStatus",
        ),
        ("ConfigMap/settings", put("data.number", 1), "data.number", "1 is a whole number, not text"),
        ("Service/hydra", put("spec.port", 1), "spec.port", "no such field: ports is meant?"),
        ("Service/hydra", put("spec.type", "Public"), "spec.type", "none of ClusterIP"),
        ("Service/hydra", put("spec.ports.0.port", "http"), "spec.ports[0].port", '"http" is text, not integer'),
        ("Service/hydra", put("apiVersion", "core/v1"), "kind", "no Service of core/v1; there is one of v1"),
        ("RayJob/learn", put("apiVersion", "ray.io/v1alpha1"), "kind", "there is one of ray.io/v1"),
        (
            "PriorityClass/other",
            put("kind", "PriorityClas"),
            "kind",
            "no PriorityClas of scheduling.k8s.io/v1, neither",
        ),
    ],
)
def test_a_broken_shape_is_refused_for_its_own_reason(object_, change, path, said, tmp_path):
    given = objects()
    given["PriorityClass/other"] = given["PriorityClass/serving"] | {"metadata": {"name": "other"}}
    change(given[object_])
    (problem,) = checked(given, tmp_path).problems
    assert (problem.path, problem.file) == (path, str(tmp_path / "all.yaml"))
    assert problem.object.partition("/")[2] == object_.partition("/")[2]
    assert said in problem.text


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (drop("metadata.name"), "metadata.name", "it is missing"),
        (put("metadata.name", "Other"), "metadata.name", '"Other" is no name'),
        (put("metadata.name", "o" * 254), "metadata.name", "is no name"),
        (put("metadata.labels", {"a": "b c"}), 'metadata.labels["a"]', "value is none of a label"),
        (put("metadata.labels", {"a/b/c": "d"}), 'metadata.labels["a/b/c"]', "no key of a label"),
    ],
)
def test_a_broken_name_is_refused_for_its_own_reason(change, path, said, tmp_path):
    given = objects()
    given["PriorityClass/other"] = given["PriorityClass/serving"] | {"metadata": {"name": "other"}}
    change(given["PriorityClass/other"])
    (problem,) = checked(given, tmp_path).problems
    assert problem.path == path
    assert said in problem.text


def test_a_service_is_named_as_a_host(tmp_path):
    given = objects()
    given["Service/hydra"]["metadata"]["name"] = "1.hydra"
    (problem,) = checked(given, tmp_path).problems
    assert "no name of a Service" in problem.text


def test_without_the_extra_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes_validate", None)
    monkeypatch.setitem(sys.modules, "kubernetes_validate.utils", None)
    with pytest.raises(HydraError, match=r'pip install "hydra-ray\[k8s\]"'):
        core_of.__wrapped__(None)


def test_null_is_what_is_not_there(tmp_path):
    given = objects()
    put(f"{_POD}.nodeSelector", None)(given["RayService/hydra"])
    assert checked(given, tmp_path).problems == []


def test_kinds_of_others_are_said_to_be_unchecked(tmp_path):
    notes = checked(objects(), tmp_path).notes
    assert [note.rsplit(": ", 1)[1] for note in notes if "PodMonitor" in note] == [
        "no schema for PodMonitor of monitoring.coreos.com/v1"
    ]
