"""The manifests are valid for KubeRay 1.7, and each object says what every one of its kind should."""

from __future__ import annotations

import re
import tomllib
from copy import deepcopy
from typing import Any

import pytest
from crd_schema import load_validator, problems
from jsonschema import Draft202012Validator
from manifests import CLUSTERS, ROOT, render

CRDS = ROOT.parent / "shared" / "kuberay"


@pytest.fixture(scope="module")
def validators() -> dict[str, Draft202012Validator]:
    if not CRDS.is_dir():
        pytest.skip(f"KubeRay's CRDs are not in {CRDS.relative_to(ROOT.parent)} beside the repository")
    return {kind: load_validator(CRDS / f"ray.io_{kind.lower()}s.yaml") for kind in CLUSTERS}


@pytest.mark.parametrize("kind", CLUSTERS)
def test_what_we_ask_of_kuberay_is_in_its_crds(manifests, kind, validators):
    assert problems(validators[kind], manifests.one(kind)) == []


def in_a_pod(kind: str, change: dict[str, Any]) -> dict[str, Any]:
    thing = deepcopy(render("base").one(kind))
    pod = thing["spec"][CLUSTERS[kind]]["workerGroupSpecs"][1]["template"]["spec"]
    pod["containers"][0] |= change
    return thing


@pytest.mark.parametrize("kind", CLUSTERS)
@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"volumeMount": []}, "containers[0]: "),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"key": "a", "optionl": True}}}]}, "secretKeyRef: "),
        ({"securityContext": {"runAsNonRoot": "true"}}, "runAsNonRoot: "),
        ({"resources": {"limits": {"cpu": 1.5}}}, "limits.cpu: "),
        ({"ports": [{"containerPort": "8000"}]}, "containerPort: "),
    ],
)
def test_a_mistake_deep_in_a_pod_is_caught(kind, change, place, validators):
    (problem,) = problems(validators[kind], in_a_pod(kind, change))
    assert place in problem


@pytest.mark.parametrize("kind", CLUSTERS)
@pytest.mark.parametrize("port", [8000, "serve"])
@pytest.mark.parametrize("cpu", [2, "2"])
def test_int_or_string_takes_both(kind, port, cpu, validators):
    change = {"livenessProbe": {"httpGet": {"port": port}}, "resources": {"limits": {"cpu": cpu}}}
    assert problems(validators[kind], in_a_pod(kind, change)) == []


def test_there_is_what_the_docs_name_and_nothing_else(manifests):
    found = {(thing["apiVersion"], thing["kind"], thing["metadata"]["name"]) for thing in manifests.objects}
    settings = manifests.one("ConfigMap")["metadata"]["name"]
    assert re.fullmatch(r"hydra-ray-settings-[a-z0-9]{10}", settings)
    assert found == {
        ("v1", "ConfigMap", settings),
        ("v1", "PersistentVolumeClaim", "hydra-ray-data"),
        ("ray.io/v1", "RayJob", "hydra-ray-learn"),
        ("ray.io/v1", "RayService", "hydra-ray"),
    }
    docs = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    for thing in manifests.objects:
        assert f"`{thing['metadata']['name'].replace(settings, 'hydra-ray-settings-<hash>')}`" in docs
        assert thing["metadata"].keys() <= {"name", "labels"}, "a namespace would overrule kubectl's -n"


def test_the_service_can_be_left_out_by_its_label(manifests):
    # `kubectl apply -k ... -l app.kubernetes.io/component!=serving`: the job first, with all that it needs.
    components = {t["kind"]: t["metadata"]["labels"]["app.kubernetes.io/component"] for t in manifests.objects}
    assert components == {
        "ConfigMap": "learning",
        "PersistentVolumeClaim": "storage",
        "RayJob": "learning",
        "RayService": "serving",
    }


@pytest.mark.parametrize("kind", CLUSTERS)
def test_clusters_run_the_ray_that_is_pinned(manifests, kind):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pinned,) = (wanted.split("==")[1] for wanted in project["dependencies"] if wanted.startswith("ray["))
    assert manifests.cluster(kind)["rayVersion"] == pinned


@pytest.mark.parametrize("kind", CLUSTERS)
def test_clusters_scale_and_want_a_token(manifests, kind):
    cluster = manifests.cluster(kind)
    assert cluster["authOptions"] == {"mode": "token"}, "KubeRay makes the token"
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert group["maxReplicas"] > 0
        # Version 2 of the autoscaler refuses pods that are restarted in place.
        assert group["template"]["spec"].get("restartPolicy", "Never") == "Never"
