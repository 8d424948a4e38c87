"""What objects say of each other and is not so is refused, for its own reason alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from good import checked, drop, objects, put
from hypothesis import given as any_of
from hypothesis import strategies as st

from hydra_ray.k8s.check import check
from hydra_ray.k8s.check.relations.selectors import matches
from hydra_ray.records import HydraError

HYDRA = "RayService/hydra"
POD = "spec.rayClusterConfig.workerGroupSpecs.0.template.spec"
SECRET = {"valueFrom": {"secretKeyRef": {"name": "secrets", "key": "REDIS"}}}
SPREAD: dict[str, Any] = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}


@pytest.mark.parametrize(
    ("object_", "change", "path", "said"),
    [
        (HYDRA, put(f"{POD}.serviceAccountName", "hydr"), "spec.serviceAccountName", 'no ServiceAccount "hydr"'),
        (HYDRA, put(f"{POD}.priorityClassName", "high"), "spec.priorityClassName", 'no PriorityClass "high"'),
        (HYDRA, put(f"{POD}.imagePullSecrets", [{"name": "pull"}]), "imagePullSecrets[0].name", 'no Secret "pull"'),
        (
            HYDRA,
            put(f"{POD}.volumes.0.persistentVolumeClaim.claimName", "dat"),
            "spec.volumes[0].persistentVolumeClaim",
            'no PersistentVolumeClaim "dat"',
        ),
        (
            HYDRA,
            put(f"{POD}.volumes.1.configMap.name", "setting"),
            "spec.volumes[1].configMap",
            'no ConfigMap "setting"',
        ),
        (
            HYDRA,
            put(f"{POD}.volumes.1.configMap.items", [{"key": "a.yaml", "path": "a.yaml"}]),
            "spec.volumes[1].configMap",
            'has no key "a.yaml"; it has settings.yaml',
        ),
        (
            HYDRA,
            put(f"{POD}.containers.0.env.0.valueFrom.secretKeyRef.name", "secret"),
            "env[0].valueFrom.secretKeyRef",
            'no Secret "secret" among these manifests; one that is made elsewhere',
        ),
        (
            HYDRA,
            put(f"{POD}.containers.0.env.0.valueFrom.secretKeyRef.key", "OPENAI_KEY"),
            "env[0].valueFrom.secretKeyRef",
            'has no key "OPENAI_KEY"; it has HYDRA_STORE_PASSWORD, OPENAI_API_KEY',
        ),
        (
            HYDRA,
            put(f"{POD}.containers.0.envFrom", [{"configMapRef": {"name": "more"}}]),
            "envFrom[0].configMapRef",
            'no ConfigMap "more"',
        ),
        (
            HYDRA,
            put("spec.rayClusterConfig.gcsFaultToleranceOptions", {"redisAddress": "r:6379", "redisPassword": SECRET}),
            "gcsFaultToleranceOptions.redisPassword.valueFrom.secretKeyRef",
            'has no key "REDIS"',
        ),
        (HYDRA, put("spec.rayClusterConfig.authOptions.secretName", "token"), "authOptions.secretName", '"token"'),
        (
            HYDRA,
            put(f"{POD}.topologySpreadConstraints", [{**SPREAD, "labelSelector": {"matchLabels": {"app": "hydr"}}}]),
            "topologySpreadConstraints[0].labelSelector",
            "does not select these pods themselves",
        ),
        (HYDRA, put("metadata.annotations", {"hydra-ray/elsewhere": "secrets"}), "elsewhere", "is no KIND/NAME"),
        (HYDRA, put("metadata.namespace", "other"), "metadata.namespace", 'in "other", others in "mine"'),
        (
            "RayJob/learn",
            put("metadata.labels", {"kueue.x-k8s.io/queue-name": "learn"}),
            'metadata.labels["kueue.x-k8s.io/queue-name"]',
            'no LocalQueue "learn"',
        ),
        ("Service/hydra", put("spec.selector", {"app": "hydr"}), "spec.selector", "no pod of these manifests"),
        ("Service/hydra", put("spec.ports.0.targetPort", "http"), "spec.ports[0].targetPort", 'no port "http"'),
        (
            "PodDisruptionBudget/hydra",
            put("spec.selector", {"matchLabels": {"ray.io/originated-from-cr-name": "hydra"}}),
            "spec.selector",
            "no pod of these manifests",
        ),
        ("NetworkPolicy/hydra", put("spec.podSelector.matchLabels.app", "hydr"), "spec.podSelector", "no pod of these"),
        (
            "NetworkPolicy/hydra",
            put("spec.ingress.0.from", [{"podSelector": {"matchLabels": {"app": "gateway"}}}]),
            "spec.ingress[0].from[0].podSelector",
            "no pod of these",
        ),
        ("NetworkPolicy/hydra", put("spec.ingress.0.ports.0.port", "web"), "ingress[0].ports[0].port", 'no port "web"'),
        (
            "NetworkPolicy/hydra",
            lambda tree: tree["spec"].update(policyTypes=["Egress"], egress=[{}]),
            "spec.ingress",
            "does not have Ingress",
        ),
        ("PodMonitor/hydra", put("spec.selector.matchLabels.app", "hydr"), "spec.selector", "no pod of these"),
        (
            "PodMonitor/hydra",
            put("spec.podMetricsEndpoints.0.port", "metric"),
            "spec.podMetricsEndpoints[0].port",
            'no port "metric"',
        ),
        ("PodMonitor/hydra", put("spec.selector", 5), "spec.podMetricsEndpoints", ""),
    ],
)
def test_a_broken_relation_is_refused_for_its_own_reason(object_, change, path, said, tmp_path):
    given = objects()
    given["ServiceAccount/hydra"]["metadata"]["namespace"] = "mine"
    change(given[object_])
    problems = checked(given, tmp_path).problems
    if not said:
        # Of a kind without a schema wrong types are passed over.
        assert problems == []
        return
    (problem,) = problems
    assert problem.path.endswith(path) or path in problem.path
    assert said in problem.text


def route(name: str, port: Any) -> Any:
    rules = [{"backendRefs": [{"name": name, "port": port}]}]
    metadata = {"name": "hydra"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": {"rules": rules},
    }


def ingress(name: str, port: Any) -> Any:
    backend = {"service": {"name": name, "port": {"name" if isinstance(port, str) else "number": port}}}
    paths = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
    metadata = {"name": "hydra"}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": {"rules": [{"http": paths}]},
    }


@pytest.mark.parametrize("kind", [route, ingress])
@pytest.mark.parametrize(
    ("name", "port", "said"),
    [
        ("hydra", 80, ""),
        ("hydra", "http", ""),
        ("hydra-serve-svc", 8000, ""),
        ("hydra", 8000, 'the Service "hydra" has no port 8000'),
        ("hydra-svc", 80, 'there is no Service "hydra-svc"'),
    ],
)
def test_routes_lead_to_services_that_there_are(kind, name, port, said, tmp_path):
    given = {**objects(), "route": kind(name, port)}
    found = [problem.text for problem in checked(given, tmp_path).problems]
    assert len(found) == bool(said)
    assert all(said in text for text in found)


def test_two_objects_of_one_name_are_refused(tmp_path):
    given = objects()
    given["again"] = given["ConfigMap/settings"]
    (problem,) = checked(given, tmp_path).problems
    assert "there is another ConfigMap/settings" in problem.text


@pytest.mark.parametrize("how", ["annotation", "argument", "optional"])
def test_what_is_elsewhere_is_told(how, tmp_path):
    given = objects()
    del given["Secret/secrets"]
    assert "hydra-ray/elsewhere: Secret/secrets" in checked(given, tmp_path).problems[0].text
    if how == "annotation":
        given[HYDRA]["metadata"]["annotations"] = {"hydra-ray/elsewhere": "Secret/secrets LocalQueue/any"}
    if how == "optional":
        text = json.dumps(list(given.values())).replace('"name": "secrets"', '"optional": true, "name": "secrets"')
        given = {str(place): one for place, one in enumerate(json.loads(text))}
    assert checked(given, tmp_path, ["Secret/secrets"] if how == "argument" else []).problems == []


def test_selectors_count_for_nothing_where_an_object_cannot_be_read(tmp_path):
    given = objects()
    drop("spec.rayClusterConfig.headGroupSpec.template.spec.containers.0.name")(given[HYDRA])
    assert [problem.text for problem in checked(given, tmp_path).problems] == ["it is missing"]


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "app", "operator": "In", "values": ["a", "b"]}, True),
        ({"key": "app", "operator": "In", "values": ["b"]}, False),
        ({"key": "app", "operator": "NotIn", "values": ["a"]}, False),
        ({"key": "other", "operator": "NotIn", "values": ["a"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "app", "operator": "DoesNotExist"}, False),
        ({"key": "cluster", "operator": "In", "values": ["any"]}, True),
    ],
)
def test_expressions_of_selectors(expression, fits):
    assert matches({"matchExpressions": [expression]}, {"app": "a", "cluster": None}) is fits


@any_of(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=4))
def test_labels_are_selected_by_themselves_and_by_nothing(labels):
    assert matches({"matchLabels": labels}, labels)
    assert matches({}, labels)
    assert not matches({"matchLabels": {**labels, "one more": "x"}}, labels)


def test_a_folder_with_a_kustomization_is_one_set_with_all_below(tmp_path):
    given = objects()
    (tmp_path / "jobs").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "jobs" / "learn.yaml").write_text(yaml.safe_dump(given.pop("RayJob/learn")))
    (tmp_path / "base" / "all.yaml").write_text(yaml.safe_dump_all(given.values()))
    (tmp_path / "base" / "kustomization.yaml").write_text("resources: [all.yaml]")
    (tmp_path / "kustomization.yaml").write_text("resources: [base]")
    report = check([tmp_path])
    assert (report.problems, report.objects) == ([], 13)
    # Alone the job misses what the others have.
    assert len(check([tmp_path / "jobs"]).problems) > 5


@pytest.mark.parametrize(
    ("kustomization", "path", "said"),
    [
        ("resources: [all.yaml]\nimages: []", "images", "kustomize's images is not applied here"),
        ("resources: [all.yaml]\npatches: [{path: a.yaml}]", "patches", "is not applied here"),
        ("resources: [all.yaml, none.yaml]", "resources[1]", "there is no none.yaml"),
        ("resources: [all.yaml, https://example.com/a]", "resources[1]", "elsewhere"),
        ("resources: [all.yaml, empty]", "resources[1]", "has no kustomization.yaml"),
        ("resources: [all.yaml, ../here]", "resources", "names it in turn"),
        ("resources: [all.yaml, 5]", "resources[1]", "the name of a file or folder"),
    ],
)
def test_what_only_kustomize_does_is_an_error(kustomization, path, said, tmp_path):
    folder = tmp_path / "here"
    (folder / "empty").mkdir(parents=True)
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects().values()))
    (folder / "kustomization.yaml").write_text(kustomization)
    (problem,) = check([folder]).problems
    assert (problem.path, problem.object) == (path, "")
    assert said in problem.text


@pytest.mark.parametrize("path", ["none.yaml", "empty"])
def test_nothing_to_check_is_an_error(path, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(HydraError, match=f"{path}: there is no"):
        check([tmp_path / path])
