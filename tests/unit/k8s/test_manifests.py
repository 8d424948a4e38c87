"""Each object says what every one of its kind should, in each profile."""

from __future__ import annotations

import tomllib

import pytest
from manifests import PROFILES, ROOT, rendered

from hydra_ray.runtime.draining import drain_s

JOBS = ("collect", "train", "tune", "fit", "evaluate")


def test_there_is_what_the_docs_name_and_nothing_else(manifests):
    found = {
        (thing["kind"], thing["metadata"]["name"].replace(manifests.settings_name, "hydra-ray-settings-<hash>"))
        for thing in manifests.objects
    }
    group = {("PodDisruptionBudget", "hydra-ray-gpu")} if manifests.group("gpu") else set()
    assert found == group | {
        ("Namespace", "hydra-ray"),
        ("PriorityClass", "hydra-ray-serving.hydra-ray"),
        ("PriorityClass", "hydra-ray-learning.hydra-ray"),
        ("PersistentVolumeClaim", "hydra-ray-data"),
        ("NetworkPolicy", "hydra-ray-serving"),
        ("NetworkPolicy", "hydra-ray-learning"),
        ("NetworkPolicy", "hydra-ray-heads"),
        ("ConfigMap", "hydra-ray-settings-<hash>"),
        ("RayService", "hydra-ray"),
        ("PodDisruptionBudget", "hydra-ray-head"),
        ("PodDisruptionBudget", "hydra-ray-cpu"),
        ("CronJob", "hydra-ray-refit"),
        ("PodMonitor", "hydra-ray"),
        ("PrometheusRule", "hydra-ray"),
        ("ConfigMap", "hydra-ray-dashboard"),
        ("Pod", "hydra-ray-admin"),
        *(("RayJob", f"hydra-ray-{name}") for name in JOBS),
    }
    docs = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    for kind, name in found:
        assert f"`{name}`" in docs or (kind == "RayJob" and "`hydra-ray-<command>`" in docs), (kind, name)


def test_settings_of_other_content_have_another_name():
    names = {rendered("openai").settings_name, rendered("openai", "learning.feedback.max_calls=7").settings_name}
    assert len(names) == 2
    # A new image alone starts no job with other settings.
    assert rendered("openai", "image=other:1").settings_name in names


def test_clusters_run_the_ray_that_is_pinned_and_want_a_token(manifests):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pinned,) = (wanted.split("==")[1] for wanted in project["dependencies"] if wanted.startswith("ray["))
    for where, cluster in manifests.clusters():
        assert cluster["rayVersion"] == pinned, where
        assert cluster["authOptions"] == {"mode": "token"}, where
        assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", where
        for group in cluster["workerGroupSpecs"]:
            assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] > 0, where
            # Version 2 of the autoscaler refuses pods that are restarted in place.
            assert "restartPolicy" not in group["template"]["spec"], where


def test_who_waits_in_a_queue_has_all_its_pods_at_once_and_others_let_them_come(manifests):
    for where, cluster in manifests.clusters():
        queued = where.startswith("RayJob") and rendered_queue(manifests)
        assert cluster["enableInTreeAutoscaling"] is not queued, where
        assert ("autoscalerOptions" in cluster) is not queued, where
        # Kueue counts what a job asks for when it lets it in.
        if queued:
            assert all(g["minReplicas"] == g["maxReplicas"] for g in cluster["workerGroupSpecs"]), where
        # Nobody but the autoscaler asks Kubernetes.
        assert cluster["headGroupSpec"]["template"]["spec"]["automountServiceAccountToken"] is not queued, where


def rendered_queue(manifests) -> bool:
    labels = [job["metadata"]["labels"] for job in manifests.all("RayJob").values()]
    queues = {one.get("kueue.x-k8s.io/queue-name") for one in labels}
    cron = manifests.one("CronJob")["spec"]["jobTemplate"]["metadata"]["labels"]
    assert queues == {cron.get("kueue.x-k8s.io/queue-name")}
    return queues != {None}


def test_jobs_of_a_queue_end_their_cluster_in_the_way_that_kueue_wants():
    for profile in ("openai", "gpu", "cluster"):
        for job in rendered(profile).all("RayJob").values():
            assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "hydra-ray"
            assert job["spec"]["shutdownAfterJobFinishes"] is True
            # KubeRay refuses rules beside it.
            assert job["spec"]["deletionStrategy"].keys() == {"onSuccess", "onFailure"}


def test_jobs_without_a_queue_have_rules_of_deletion():
    for job in rendered("dev").all("RayJob").values():
        assert not job["spec"].keys() & {"shutdownAfterJobFinishes", "ttlSecondsAfterFinished"}
        rules = job["spec"]["deletionStrategy"]["deletionRules"]
        conditions = [rule["condition"] for rule in rules]
        assert [one.get("jobStatus") or one["jobDeploymentStatus"] for one in conditions] == [
            "SUCCEEDED",
            "FAILED",
            "Failed",
        ]
        assert {rule["policy"] for rule in rules} == {"DeleteCluster"}
        # What failed is looked at.
        assert conditions[1]["ttlSeconds"] > conditions[0]["ttlSeconds"]
    labels = rendered("openai", "jobs.queue=null").one("RayJob", "fit")["metadata"]["labels"]
    assert not any(name.startswith("kueue") for name in labels)


def test_jobs_end_and_are_tried_again(manifests):
    for name, job in manifests.all("RayJob").items():
        spec = job["spec"]
        assert spec["backoffLimit"] > 0, name
        assert spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"], name
    job = manifests.one("CronJob")["spec"]["jobTemplate"]["spec"]
    assert job["backoffLimit"] > 0
    assert job["ttlSecondsAfterFinished"] > 0
    assert manifests.one("CronJob")["spec"]["concurrencyPolicy"] == "Forbid"


def test_a_cluster_that_is_replaced_ends_its_requests_first(manifests):
    longest = drain_s(manifests.served().serve)
    assert manifests.one("RayService")["spec"]["rayClusterDeletionDelaySeconds"] > longest


@pytest.mark.parametrize("times", [{"timeout_s": 400}, {"generator_timeout_s": 900}])
def test_times_to_end_follow_the_longest_generation(times):
    overrides = [f"settings.serve.{name}={value}" for name, value in times.items()]
    made = rendered("gpu", *overrides)
    (longest,) = times.values()
    assert made.one("RayService")["spec"]["rayClusterDeletionDelaySeconds"] > longest
    for where, pod in made.pods():
        if where.startswith("RayService"):
            assert pod["terminationGracePeriodSeconds"] > longest, where
    # The engine ends what it has begun, too.
    assert drain_s(made.served("llm").serve) > longest


def test_cluster_survives_its_head_and_is_upgraded_in_steps():
    made = rendered("cluster")
    service = made.one("RayService")["spec"]
    options = service["rayClusterConfig"]["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "redis:6379"
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"] == {"name": "hydra-ray", "key": "HYDRA_REDIS_PASSWORD"}
    head = service["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    # KubeRay sets this one itself, and refuses it here.
    assert not {"REDIS_PASSWORD", "RAY_REDIS_ADDRESS"} & {one["name"] for one in head["env"]}
    upgrade = service["upgradeStrategy"]
    assert upgrade["type"] == "NewClusterWithIncrementalUpgrade"
    options = upgrade["clusterUpgradeOptions"]
    assert 0 < options["stepSizePercent"] <= options["maxSurgePercent"] <= 100
    assert options["gatewayClassName"]
    # Whose jobs end anyway keep no books elsewhere.
    for where, cluster in made.clusters():
        assert ("gcsFaultToleranceOptions" in cluster) == where.startswith("RayService"), where


@pytest.mark.parametrize("profile", sorted(set(PROFILES) - {"cluster"}))
def test_others_need_no_redis_and_no_gateway(profile):
    service = rendered(profile).one("RayService")["spec"]
    assert service["upgradeStrategy"] == {"type": "NewCluster"}
    assert "gcsFaultToleranceOptions" not in service["rayClusterConfig"]


def test_a_route_leads_to_the_service_from_a_gateway_that_is_there():
    made = rendered("gpu", "gateway.name=public", "gateway.host=hydra.example.com", "settings.serve.timeout_s=300")
    route = made.one("HTTPRoute")["spec"]
    assert route["hostnames"] == ["hydra.example.com"]
    assert route["parentRefs"] == [{"name": "public", "namespace": "gateway-system"}]
    (rule,) = route["rules"]
    # KubeRay names the Service after the RayService.
    assert rule["backendRefs"] == [{"name": "hydra-ray-serve-svc", "port": 8000}]
    assert rule["timeouts"] == {"request": "300s"}
