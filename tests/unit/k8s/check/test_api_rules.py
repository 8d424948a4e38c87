"""What the API server refuses beyond the schemas is refused, for its own reason alone."""

from __future__ import annotations

from typing import Any

import pytest
from good import checked, objects, put, submitter

POLICY, BUDGET = "NetworkPolicy/hydra", "PodDisruptionBudget/hydra"
FROM, PORTS = "spec.ingress.0.from", "spec.ingress.0.ports"


def cron_job() -> dict[str, Any]:
    spec = {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": submitter()}}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": spec}


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (put("spec.timeZone", "Europe/Berlin"), None, ""),
        (put("spec.schedule", "61 * * * *"), "spec.schedule", '"61" is no minute'),
        (put("spec.timeZone", "Mars/Base"), "spec.timeZone", 'no time zone "Mars/Base"'),
        (
            put("spec.jobTemplate.spec.template.spec.restartPolicy", "Always"),
            "spec.jobTemplate.spec.template.spec.restartPolicy",
            "Never or OnFailure",
        ),
    ],
)
def test_a_broken_cron_job_is_refused_for_its_own_reason(change, path, said, tmp_path):
    broken = cron_job()
    change(broken)
    problems = checked({**objects(), "CronJob/nightly": broken}, tmp_path).problems
    assert [problem.path for problem in problems] == ([path] if path else [])
    assert all(said in problem.text for problem in problems)


@pytest.mark.parametrize(
    ("object_", "change", "path", "said"),
    [
        (POLICY, put(FROM, [{"ipBlock": {"cidr": "foo"}}]), "from[0].ipBlock.cidr", '"foo" is no block of addresses'),
        (POLICY, put(FROM, [{"ipBlock": {"cidr": "10.0.0.1"}}]), "from[0].ipBlock.cidr", "no block of addresses"),
        (
            POLICY,
            put(FROM, [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]),
            "ipBlock.except[0]",
            "not strictly inside 10.0.0.0/8",
        ),
        (
            POLICY,
            put(FROM, [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]),
            "spec.ingress[0].from[0]",
            "stands alone",
        ),
        (POLICY, put(PORTS, [{"port": 70000}]), "spec.ingress[0].ports[0].port", "70000 is no port"),
        (POLICY, put(PORTS, [{"port": "serve", "endPort": 9000}]), "ports[0].endPort", "wants port to be a number"),
        (POLICY, put(PORTS, [{"port": 9000, "endPort": 8000}]), "ports[0].endPort", "8000 is no port from 9000"),
        (BUDGET, put("spec.maxUnavailable", 1), "spec.maxUnavailable", "says one of the two"),
        (BUDGET, put("spec.minAvailable", "120%"), "spec.minAvailable", "neither a number nor 0% to 100%"),
        ("PriorityClass/serving", put("value", 2_000_000_000), "value", "2000000000 is above 1000000000"),
        ("ConfigMap/settings", put("data.more", "x" * 2**20), "data", "holds 1 MiB"),
    ],
)
def test_a_broken_object_is_refused_for_its_own_reason(object_, change, path, said, tmp_path):
    given = objects()
    change(given[object_])
    (problem,) = checked(given, tmp_path).problems
    assert problem.path.endswith(path)
    assert said in problem.text


@pytest.mark.parametrize(
    ("label", "value", "said"),
    [
        ("enforce", "restricted", ""),
        ("enforce-version", "v1.36", ""),
        ("enforce", "strict", '"strict" is no level of pod security'),
        ("warn-version", "1.36", "no version of pod security"),
        ("enforced", "restricted", "no such label of pod security"),
    ],
)
def test_labels_of_pod_security_are_looked_at(label, value, said, tmp_path):
    labels = {f"pod-security.kubernetes.io/{label}": value}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hydra", "labels": labels}}
    problems = checked({**objects(), "Namespace/hydra": namespace}, tmp_path).problems
    assert len(problems) == bool(said)
    assert all(said in problem.text for problem in problems)
