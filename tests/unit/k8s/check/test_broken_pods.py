"""Templates of pods that do not hold together, or are not restricted, are refused for their own reason alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from good import checked, drop, objects, put
from hypothesis import given as any_of
from hypothesis import strategies as st

from hydra_ray.k8s.check.pods.quantities import quantity

GROUP = "spec.rayClusterConfig.workerGroupSpecs.0.template"
POD = f"{GROUP}.spec"
BOX = f"{POD}.containers.0"
VARIABLES = [{"name": name, "value": "a"} for name in ("OPENAI_API_KEY", "HYDRA_STORE_PASSWORD", "OPENAI_API_KEY")]
SLEEPS = {"preStop": {"exec": {"command": ["sh", "-c", "sleep 250"]}}}
NAPS = {"preStop": {"sleep": {"seconds": 200}}}
SPREAD = {
    **{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2},
    "labelSelector": {"matchLabels": {"app": "hydra"}},
}
ASKS = {"exec": {"command": ["python", "-m", "hydra_ray.k8s.prob", "http://127.0.0.1:8000/"]}}
HTTP: dict[str, Any] = {"httpGet": {"path": "/", "port": "serve"}}


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (put(f"{GROUP}.metadata.labels.zone", "a b"), 'metadata.labels["zone"]', "value is none of a label"),
        (drop(f"{POD}.volumes.0"), "spec.containers[0].volumeMounts[0].name", 'no volume "data"'),
        (drop(f"{BOX}.volumeMounts.1"), "spec.volumes[1]", "no container mounts it"),
        (put(f"{BOX}.volumeMounts.1.mountPath", "/data"), "spec.containers[0].volumeMounts", "is there twice"),
        (put(f"{POD}.volumes.0.emptyDir", {}), "spec.volumes[0]", "of one kind, not of several"),
        (put(f"{BOX}.name", "Ray"), "spec.containers[0].name", "small letters"),
        (put(f"{BOX}.resources.limits.memory", "8GB"), "limits.memory", '"8GB" is no quantity'),
        (put(f"{BOX}.resources.limits.memory", "4Gi"), "requests.memory", "more than its limit 4Gi"),
        (put(f"{BOX}.resources.limits", {"nvidia.com/gpu": "0.5"}), "limits.nvidia.com/gpu", "no whole number"),
        (put(f"{BOX}.env", VARIABLES), "spec.containers[0].env", 'name "OPENAI_API_KEY" is there twice'),
        (put(f"{BOX}.ports.0.containerPort", 80000), "ports[0].containerPort", "from 1 to 65535"),
        (put(f"{BOX}.readinessProbe", {"httpGet": {"port": "web"}}), "httpGet.port", 'no container has a port "web"'),
        (
            put(f"{BOX}.readinessProbe", {**HTTP, "tcpSocket": {"port": 8000}}),
            "readinessProbe",
            "a probe does one thing",
        ),
        (put(f"{BOX}.livenessProbe", {**HTTP, "timeoutSeconds": 20}), "timeoutSeconds", "longer than periodSeconds"),
        (put(f"{BOX}.env.0.value", "a"), "spec.containers[0].env[0].valueFrom", "it is beside value"),
        (put(f"{BOX}.lifecycle", SLEEPS), "spec.terminationGracePeriodSeconds", "200 s is not longer than the 250 s"),
        (put(f"{BOX}.lifecycle", NAPS), "spec.terminationGracePeriodSeconds", "200 s is not longer than the 200 s"),
        (put(f"{POD}.topologySpreadConstraints", [SPREAD]), "Constraints[0].minDomains", "it wants DoNotSchedule"),
        (put(f"{BOX}.livenessProbe", {"tcpSocket": {"port": 52366}}), "tcpSocket.port", "nobody listens on 52366"),
        (put(f"{BOX}.readinessProbe", ASKS), "readinessProbe.exec.command", "there is no module hydra_ray.k8s.prob"),
        (put(f"{POD}.hostNetwork", True), "spec.hostNetwork", "shares nothing"),
        (put(f"{POD}.volumes.0", {"name": "data", "hostPath": {"path": "/"}}), "volumes[0].hostPath", "no such volume"),
        (put(f"{BOX}.ports.0.hostPort", 80), "ports[0].hostPort", "no port of its host"),
        (drop(f"{POD}.securityContext.runAsNonRoot"), "securityContext.runAsNonRoot", "says true"),
        (put(f"{POD}.securityContext.runAsUser", 0), "spec.securityContext.runAsUser", "not run by root"),
        (drop(f"{POD}.securityContext.seccompProfile"), "seccompProfile.type", "RuntimeDefault"),
        (drop(f"{BOX}.securityContext.allowPrivilegeEscalation"), "allowPrivilegeEscalation", "says false"),
        (put(f"{BOX}.securityContext.capabilities.drop", ["NET_RAW"]), "capabilities.drop", "drops ALL"),
        (put(f"{BOX}.securityContext.capabilities.add", ["SYS_ADMIN"]), "capabilities.add", "NET_BIND_SERVICE at most"),
        (put(f"{BOX}.securityContext.privileged", True), "securityContext.privileged", "not privileged"),
        (
            put("spec.rayClusterConfig.autoscalerOptions.securityContext", {"allowPrivilegeEscalation": False}),
            "autoscalerOptions.securityContext.capabilities.drop",
            "drops ALL",
        ),
    ],
)
def test_a_broken_pod_is_refused_for_its_own_reason(change, path, said, tmp_path):
    given = objects()
    change(given["RayService/hydra"])
    (problem,) = checked(given, tmp_path).problems
    assert problem.path.endswith(path)
    assert said in problem.text


def test_a_container_without_an_image_is_refused(tmp_path):
    given = objects()
    drop("spec.submitterPodTemplate.spec.containers.0.image")(given["RayJob/learn"])
    (problem,) = checked(given, tmp_path).problems
    assert problem.path == "spec.submitterPodTemplate.spec.containers[0].image"


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500m", "0.5"),
        (4, "4"),
        ("8Gi", str(8 * 2**30)),
        ("1e3", "1000"),
        ("1E", "1E18"),
        (".5", "0.5"),
        ("100M", "1E8"),
        ("8GB", None),
        ("", None),
        ("Gi", None),
        (True, None),
        ([], None),
        ("½", None),
    ],
)
def test_quantities(text, amount):
    assert quantity(text) == (None if amount is None else Decimal(amount))


@any_of(st.text() | st.integers() | st.floats() | st.none() | st.from_regex(r"[+-]?\d*\.?\d*([eE]\d+|[a-zA-Z]{0,2})"))
def test_anything_is_a_quantity_or_none(value):
    found = quantity(value)
    assert found is None or isinstance(found, Decimal)
