"""What KubeRay's operator refuses is refused here, with the operator's name of the rule, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from good import checked, drop, objects, put

from hydra_ray.k8s.check.kuberay.cron import schedule_problems
from hydra_ray.k8s.check.kuberay.service import timeout_problems

HYDRA = "RayService/hydra"
CLUSTER = "spec.rayClusterConfig"


def variable(one: dict[str, str]) -> Any:
    """A change that gives the head another variable."""
    return lambda tree: tree["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0][
        "env"
    ].append(one)


SERVICE: list[tuple[Any, str, str]] = [
    (put(f"{CLUSTER}.headGroupSpec.template.spec.containers", []), "containers", "no container"),
    (put(f"{CLUSTER}.headGroupSpec.resources", {"CPU": "4"}), "headGroupSpec.resources", "validateRayGroupResources"),
    (
        put(f"{CLUSTER}.headGroupSpec.rayStartParams.labels", "a=b"),
        "headGroupSpec.rayStartParams.labels",
        "validateRayGroupLabels",
    ),
    (
        put(f"{CLUSTER}.workerGroupSpecs.0.labels", {"a b": "c"}),
        'workerGroupSpecs[0].labels["a b"]',
        "validateRayGroupLabels",
    ),
    (put(f"{CLUSTER}.workerGroupSpecs.0.minReplicas", -1), "workerGroupSpecs[0].minReplicas", "-1 is below 0"),
    (
        put(f"{CLUSTER}.workerGroupSpecs.0.minReplicas", 3),
        "workerGroupSpecs[0].minReplicas",
        "more than maxReplicas (2)",
    ),
    (
        put(f"{CLUSTER}.workerGroupSpecs.0.idleTimeoutSeconds", -1),
        "workerGroupSpecs[0].idleTimeoutSeconds",
        "validateWorkerGroupIdleTimeout",
    ),
    (
        put(f"{CLUSTER}.workerGroupSpecs.0.suspend", True),
        "workerGroupSpecs[0].suspend",
        "cluster that scales cannot be suspended",
    ),
    (
        put(f"{CLUSTER}.workerGroupSpecs.0.template.spec.restartPolicy", "Always"),
        "workerGroupSpecs[0].template.spec.restartPolicy",
        "it is Never",
    ),
    (put(f"{CLUSTER}.autoscalerOptions.idleTimeoutSeconds", -5), "autoscalerOptions.idleTimeoutSeconds", "below 0"),
    (
        put(f"{CLUSTER}.autoscalerOptions.env", [{"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": "x"}]),
        "autoscalerOptions.env",
        "the operator's own",
    ),
    (put(f"{CLUSTER}.gcsFaultToleranceOptions", {"backend": "rocksdb"}), "Options.backend", "feature gate"),
    (
        put(f"{CLUSTER}.gcsFaultToleranceOptions", {"redisAddress": "r:6379", "storage": {}}),
        "gcsFaultToleranceOptions.storage",
        "validateGcsFaultToleranceBackend",
    ),
    (
        variable({"name": "RAY_REDIS_ADDRESS", "value": "r"}),
        "headGroupSpec.template.spec.containers[0].env",
        "gcsFaultToleranceOptions",
    ),
    (
        variable({"name": "REDIS_USERNAME", "value": "r"}),
        "headGroupSpec",
        "redisUsername",
    ),
    (drop(f"{CLUSTER}.rayVersion"), "rayVersion", "2.52.0 or later"),
    (put(f"{CLUSTER}.rayVersion", "2.9.0"), "rayVersion", "2.52.0 or later, not 2.9.0"),
    (put(f"{CLUSTER}.authOptions.enableK8sTokenAuth", True), "authOptions.enableK8sTokenAuth", "services cannot use"),
    (put(f"{CLUSTER}.tlsOptions", {"enabled": True}), "tlsOptions", "feature gate RayClusterMTLS"),
    (
        put(f"{CLUSTER}.headGroupSpec.headService", {"metadata": {"name": "mine"}}),
        "headGroupSpec.headService.metadata.name",
        "the operator names it",
    ),
    (put("spec.upgradeStrategy.type", "Recreate"), "spec.upgradeStrategy.type", "none of NewClusterWithIncremental"),
    (
        put("spec.upgradeStrategy", {"type": "NewClusterWithIncrementalUpgrade"}),
        "spec.upgradeStrategy.clusterUpgradeOptions",
        "ValidateClusterUpgradeOptions",
    ),
    (
        put(
            "spec.upgradeStrategy",
            {
                "type": "NewClusterWithIncrementalUpgrade",
                "clusterUpgradeOptions": {
                    "maxSurgePercent": 10,
                    "stepSizePercent": 20,
                    "intervalSeconds": 5,
                    "gatewayClassName": "istio",
                },
            },
        ),
        "spec.upgradeStrategy.clusterUpgradeOptions.stepSizePercent",
        "20 is more than maxSurgePercent (10)",
    ),
    (
        put("metadata.annotations", {"ray.io/initializing-timeout": "soon"}),
        'metadata.annotations["ray.io/initializing-timeout"]',
        "validateInitializingTimeout",
    ),
]
JOB: list[tuple[Any, str, str]] = [
    (put("spec.shutdownAfterJobFinishes", False), "spec.ttlSecondsAfterFinished", "validateDeletionConfiguration"),
    (put("spec.ttlSecondsAfterFinished", -1), "spec.ttlSecondsAfterFinished", "-1 is below 0"),
    (put("spec.backoffLimit", -1), "spec.backoffLimit", "-1 is below 0"),
    (put("spec.activeDeadlineSeconds", 0), "spec.activeDeadlineSeconds", "0 is not above 0"),
    (put("spec.submissionMode", "InteractiveMode"), "spec.backoffLimit", "with InteractiveMode nothing"),
    (put("spec.submissionMode", "SidecarMode"), "spec.submitterPodTemplate", "SidecarMode has no pod that submits"),
    (put("spec.runtimeEnvYAML", "- a"), "spec.runtimeEnvYAML", "it is no mapping"),
    (
        put(
            "spec.deletionStrategy", {"deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}]}
        ),
        "spec.deletionStrategy.deletionRules",
        "there is no shutdownAfterJobFinishes",
    ),
    (
        put("spec.deletionStrategy", {"onSuccess": {"policy": "DeleteNone"}, "onFailure": {"policy": "DeleteCluster"}}),
        "spec.deletionStrategy.onSuccess.policy",
        "validateLegacyDeletionPolicies",
    ),
    (
        put("spec.rayClusterSpec.workerGroupSpecs.0.idleTimeoutSeconds", 5),
        "spec.rayClusterSpec.workerGroupSpecs[0].idleTimeoutSeconds",
        "autoscalerOptions.version: v2",
    ),
    (
        put("spec.rayClusterSpec.workerGroupSpecs.0.priority", 5),
        "spec.rayClusterSpec.workerGroupSpecs[0].priority",
        "validateWorkerGroupPriority",
    ),
    (put("metadata.name", "1-learn"), "metadata.name", "begins with a letter"),
    (put("metadata.name", "l" * 48), "metadata.name", "more than 47 letters"),
]
CRON: list[tuple[Any, str, str]] = [
    (put("spec.schedule", "0 25 * * *"), "spec.schedule", '"25" is no hour'),
    (put("spec.schedule", "TZ=UTC 0 3 * * *"), "spec.schedule", "timeZone"),
    (put("spec.timeZone", "Europe/Atlantis"), "spec.timeZone", "no time zone"),
    (
        put("spec.jobTemplate.deletionStrategy.deletionRules.1.condition.ttlSeconds", 5),
        "spec.jobTemplate.deletionStrategy.deletionRules",
        "DeleteSelf (5 s) comes before DeleteCluster (60 s)",
    ),
    (
        put("spec.jobTemplate.deletionStrategy.deletionRules.1.policy", "DeleteCluster"),
        "spec.jobTemplate.deletionStrategy.deletionRules[1]",
        "another rule for DeleteCluster after SUCCEEDED",
    ),
    (put("metadata.name", "r" * 37), "metadata.name", "more than 36 letters"),
]
ALL = (
    [(HYDRA, *one) for one in SERVICE]
    + [("RayJob/learn", *one) for one in JOB]
    + [("RayCronJob/refit", *one) for one in CRON]
)


@pytest.mark.parametrize(
    ("object_", "change", "path", "said"), ALL, ids=lambda one: one if isinstance(one, str) else ""
)
def test_what_the_operator_refuses_is_refused_for_its_own_reason(object_, change, path, said, tmp_path):
    given = objects()
    change(given[object_])
    (problem,) = checked(given, tmp_path).problems
    assert problem.path.endswith(path)
    assert said in problem.text
    assert "(KubeRay: " in problem.text


@pytest.mark.parametrize(
    "schedule", ["* * * * *", "*/5 0-6 1,15 jan-mar MON", "0 0 ? * 0", "@daily", "@every 1h30m", "10-50/10 * * * *"]
)
def test_schedules_that_cron_takes_pass(schedule):
    assert list(schedule_problems({"schedule": schedule})) == []


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "60 * * * *", "*/0 * * * *", "5-1 * * * *", "* * * * 7", "a * * * *", "@often", "1-2-3 * * * *"],
)
def test_schedules_that_cron_does_not_take_are_found(schedule):
    assert [path for path, _ in schedule_problems({"schedule": schedule})] == ["schedule"]


@pytest.mark.parametrize(
    ("given", "fits"), [("5m", True), ("1h30m", True), ("1800", True), ("0", False), ("0s", False), ("-5", False)]
)
def test_times_to_start_are_go_durations_or_seconds(given, fits):
    assert (list(timeout_problems({"ray.io/initializing-timeout": given})) == []) is fits


@pytest.mark.parametrize("elastic", [True, False])
def test_kueue_takes_nothing_that_scales_but_elastic_jobs(elastic, tmp_path):
    given = objects()
    given["RayJob/learn"]["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] = True
    if elastic:
        given["RayJob/learn"]["metadata"]["annotations"] = {"kueue.x-k8s.io/elastic-job": "true"}
    found = [problem.path for problem in checked(given, tmp_path).problems if "Kueue" in problem.text]
    assert found == ([] if elastic else ["spec.rayClusterSpec.enableInTreeAutoscaling"])
