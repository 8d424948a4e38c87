"""What pods refer to is there, they run with few rights, and they have room for what they run."""

from __future__ import annotations

import ast

import pytest
from manifests import PROFILES, amount, container, cpus, gpus, rendered
from ray.serve import Deployment

from hydra_ray.runtime.start.environment import SERVING
from hydra_ray.serve import app


def ray_pods(manifests):
    """Pods of Ray's nodes, and the refit."""
    return [(where, pod) for where, pod in manifests.pods() if not where.endswith("submitter")]


def serving(manifests):
    return [(where, pod) for where, pod in manifests.pods() if where.startswith("RayService")]


def test_volumes_that_are_mounted_are_there_and_so_are_their_sources(manifests):
    for where, pod in manifests.pods():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        mounted = {mount["name"] for mount in container(pod).get("volumeMounts", [])}
        assert mounted == volumes.keys(), where
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] == manifests.settings_name, where
            elif "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert claim in manifests.all("PersistentVolumeClaim"), where
            else:
                assert "sizeLimit" in volume["emptyDir"], where


def test_who_serves_writes_to_no_more_of_the_data_than_it_has_to(manifests):
    on_nodes = not manifests.served().store_url.startswith("sqlite")
    engine = manifests.group("gpu") is not None
    for where, pod in serving(manifests):
        mounts = {mount["mountPath"]: mount for mount in container(pod)["volumeMounts"]}
        assert mounts["/data"]["readOnly"] is True, where
        writable = {
            path: mount["subPath"] for path, mount in mounts.items() if mount["name"] == "data" and path != "/data"
        }
        # Users where the store is a file, and weights that the next pod finds.
        assert writable == ({} if on_nodes else {"/store": "store"}) | (
            {"/huggingface": "huggingface"} if engine else {}
        )
        assert mounts["/cache"]["name"] == "cache", "versions of a registry elsewhere"
    for where, pod in ray_pods(manifests):
        if not where.startswith("RayService"):
            assert "readOnly" not in next(m for m in container(pod)["volumeMounts"] if m["mountPath"] == "/data"), where


def test_places_of_the_settings_are_mounted(manifests, tmp_path):
    for settings in [manifests.served(), *manifests.commands(tmp_path).values()]:
        assert settings.out.is_relative_to("/data")
        if settings.store_url.startswith("sqlite"):
            assert settings.store_url == "sqlite:////store/users.db"
        assert settings.registry_url.startswith(("/data/", "s3://"))


def test_the_volume_can_be_shared_as_far_as_its_pods_are_spread():
    modes = {profile: rendered(profile).one("PersistentVolumeClaim")["spec"]["accessModes"] for profile in PROFILES}
    assert modes == {
        "openai": ["ReadWriteMany"],
        "gpu": ["ReadWriteMany"],
        "cluster": ["ReadWriteMany"],
        "dev": ["ReadWriteOnce"],
    }
    assert {p: rendered(p).served().store_url.partition(":")[0] for p in PROFILES if p != "dev"} == dict.fromkeys(
        ("openai", "gpu", "cluster"), "postgresql+psycopg"
    )


KEYS = {
    "openai": {"OPENAI_API_KEY": True, "HYDRA_STORE_PASSWORD": True},
    "gpu": {"HYDRA_STORE_PASSWORD": True, "HYDRA_SALT_KEY": False, "HF_TOKEN": False},
    "cluster": {
        "HYDRA_STORE_PASSWORD": True,
        "HYDRA_SALT_KEY": False,
        "HF_TOKEN": False,
        "AWS_ACCESS_KEY_ID": False,
        "AWS_SECRET_ACCESS_KEY": False,
    },
    "dev": {},
}


@pytest.mark.parametrize("profile", PROFILES)
def test_keys_come_from_the_secret_and_reach_every_pod_that_asks(profile):
    made = rendered(profile)
    for where, pod in ray_pods(made):
        names = [one["name"] for one in container(pod)["env"]]
        assert len(set(names)) == len(names), where
        # KubeRay sets these.
        assert not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} & set(names), where
        told = [one["valueFrom"]["secretKeyRef"] for one in container(pod)["env"] if "valueFrom" in one]
        assert {key["key"]: not key.get("optional", False) for key in told} == KEYS[profile], where
        assert {key["name"] for key in told} <= {"hydra-ray"}


def test_the_variables_of_the_settings_are_the_keys(manifests, tmp_path):
    """What settings say is in a variable, pods have in one of that name."""
    for settings in [manifests.served(), *manifests.commands(tmp_path).values()]:
        wanted = {settings.store.password_env} - {None}
        wanted |= {settings.generator.api_key_env} if settings.generator.backend == "openai" else set()
        wanted |= {settings.generator.vllm.salt_key_env} if settings.generator.backend == "vllm" else set()
        for where, pod in ray_pods(manifests):
            assert wanted <= {one["name"] for one in container(pod)["env"]}, where


def test_keys_of_fallbacks_and_experiments_reach_pods_too():
    fallback = "settings.generator.fallbacks=[{base_url: https://other.example.com/v1, api_key_env: OTHER_KEY}]"
    experiment = "settings.serve.experiment={name: e, key_env: ARMS_KEY, arms: {a: {share: 0.5}}}"
    made = rendered("openai", fallback, experiment, "settings.observe.user_ids=hashed")
    for where, pod in serving(made):
        names = {one["name"] for one in container(pod)["env"] if "valueFrom" in one}
        assert names >= {"OTHER_KEY", "ARMS_KEY", "HYDRA_LOG_KEY"}, where


def test_ray_pods_run_as_the_account_that_settings_name():
    made = rendered("cluster", "service_account=with-bucket")
    assert {pod["serviceAccountName"] for _, pod in ray_pods(made)} == {"with-bucket"}
    assert "ServiceAccount/with-bucket" in made.one("Namespace")["metadata"]["annotations"]["hydra-ray/elsewhere"]
    assert all("serviceAccountName" not in pod for _, pod in ray_pods(rendered("cluster")))


def test_jobs_have_the_keys_that_their_own_settings_name():
    made = rendered("openai", "learning.generator.api_key_env=OTHER_KEY")
    for where, pod in ray_pods(made):
        names = {one["name"] for one in container(pod)["env"] if "valueFrom" in one}
        expected = "OPENAI_API_KEY" if where.startswith("RayService") else "OTHER_KEY"
        assert names & {"OPENAI_API_KEY", "OTHER_KEY"} == {expected}, where


def test_jobs_that_ask_an_endpoint_have_no_gpus_for_an_llm():
    endpoint = "learning.generator={backend: openai, base_url: https://llm.example.com/v1, api_key_env: A_KEY}"
    made = rendered("gpu", endpoint)
    assert made.group("gpu", "collect") is None
    assert made.group("gpu", "train") is not None


def test_no_pod_runs_as_root_or_gains_rights(manifests):
    level = manifests.one("Namespace")["metadata"]["labels"]
    assert level["pod-security.kubernetes.io/enforce"] == "restricted"
    contexts = [container(pod)["securityContext"] for _, pod in manifests.pods()]
    contexts += [c["autoscalerOptions"]["securityContext"] for _, c in manifests.clusters() if "autoscalerOptions" in c]
    for context in contexts:
        assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for where, pod in manifests.pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, where
        assert pod["securityContext"]["runAsUser"] > 0, where
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, where
        for volume in pod.get("volumes", []):
            assert volume.keys() & {"persistentVolumeClaim", "emptyDir", "configMap"}, where
        assert where.endswith("head") or pod["automountServiceAccountToken"] is False, where


def test_one_image_runs_everywhere(manifests):
    assert len({container(pod)["image"] for _, pod in manifests.pods()}) == 1
    for where, cluster in manifests.clusters():
        assert "image" not in cluster.get("autoscalerOptions", {}), f"{where}: the autoscaler takes the head's"


def test_a_pod_asks_for_no_more_than_it_may_use_and_says_how_much_disk(manifests):
    for where, pod in manifests.pods():
        resources = container(pod)["resources"]
        assert resources["requests"].keys() == resources["limits"].keys() >= {"cpu", "memory", "ephemeral-storage"}
        for name, request in resources["requests"].items():
            assert amount(request) <= amount(resources["limits"][name]), (where, name)
    for where, cluster in manifests.clusters():
        assert "ephemeral-storage" in cluster.get("autoscalerOptions", {}).get("resources", {}).get(
            "limits", {"ephemeral-storage": ""}
        ), where


def test_dev_asks_for_no_gpu_and_for_little():
    for where, pod in rendered("dev").pods():
        assert gpus(pod) == 0, where
        assert amount(container(pod)["resources"]["requests"]["cpu"]) <= 1, where


def test_openai_asks_for_no_gpu():
    assert {gpus(pod) for _, pod in rendered("openai").pods()} == {0}


def test_a_pod_of_the_gpu_group_holds_one_replica_of_the_llm(with_gpus):
    llm = with_gpus.served("llm").generator.vllm
    group = with_gpus.group("gpu")
    assert gpus(group["template"]["spec"]) == llm.tensor_parallel * llm.pipeline_parallel
    assert group["minReplicas"] == llm.min_replicas
    # Room for a new one while the pod of a lost node still counts.
    assert group["maxReplicas"] == llm.max_replicas + 1
    pod = group["template"]["spec"]
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "tolerations" not in with_gpus.group("cpu")["template"]["spec"]


def test_labels_send_pods_to_nodes():
    made = rendered("gpu", "nodes.gpu_labels={nvidia.com/gpu.product: NVIDIA-L4}", "nodes.gpu_taint=null")
    pod = made.group("gpu")["template"]["spec"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert "tolerations" not in pod
    assert "nodeSelector" not in made.group("cpu")["template"]["spec"]


def test_gpu_groups_hold_the_jobs(with_gpus, tmp_path):
    given = with_gpus.commands(tmp_path)
    for name in ("collect", "fit", "evaluate"):
        group = with_gpus.group("gpu", name)
        llm = given[name].generator.vllm
        assert gpus(group["template"]["spec"]) == llm.tensor_parallel * llm.pipeline_parallel, name
        assert group["maxReplicas"] == llm.max_replicas, name
    group = with_gpus.group("gpu", "train")
    assert group["maxReplicas"] * gpus(group["template"]["spec"]) >= given["train"].base.workers > 0
    assert given["train"].base.gpu
    # The search computes on features that are there.
    assert with_gpus.group("gpu", "tune") is None
    refit = with_gpus.one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert gpus(refit) == given["fit"].generator.vllm.tensor_parallel


def test_the_autoscaler_knows_which_gpus_come_with_a_pod():
    from ray.autoscaler._private.kuberay.autoscaling_config import _node_type_from_group_spec

    made = rendered("cluster", "jobs.queue=null")
    accelerator = made.served("llm").generator.vllm.accelerator
    assert accelerator
    for job in ("", "collect", "fit", "evaluate"):
        resources = _node_type_from_group_spec(made.group("gpu", job), is_head=False)["resources"]
        # What Ray asks of a node for a replica, beside its GPUs.
        assert resources[f"accelerator_type:{accelerator}"] == 1, job
        assert resources["GPU"] == 4, job
    assert rendered("gpu").group("gpu")["rayStartParams"] == {}


def test_gpus_of_a_job_come_when_it_wants_them_where_there_is_no_queue():
    group = rendered("gpu", "jobs.queue=null").group("gpu", "collect")
    assert (group["minReplicas"], group["maxReplicas"]) == (0, 1)


def test_fewest_pods_have_room_for_the_fewest_replicas(manifests):
    ours = [thing for thing in vars(app).values() if isinstance(thing, Deployment)]
    told = {one["name"]: one for one in manifests.serve_config["applications"][0].get("deployments", [])}
    wanted = 0.0
    for deployment in ours:
        scaling = told.get(deployment.name, {}).get("autoscaling_config", {"min_replicas": 1})
        wanted += deployment.ray_actor_options["num_cpus"] * scaling["min_replicas"]
    group = manifests.group("cpu")
    assert wanted <= group["minReplicas"] * cpus(group["template"]["spec"])


def test_most_pods_have_room_for_the_most_replicas(manifests):
    ours = [thing for thing in vars(app).values() if isinstance(thing, Deployment)]
    told = {one["name"]: one for one in manifests.serve_config["applications"][0].get("deployments", [])}
    wanted = 0.0
    for deployment in ours:
        scaling = told.get(deployment.name, {}).get("autoscaling_config", {"max_replicas": 1})
        wanted += deployment.ray_actor_options["num_cpus"] * scaling["max_replicas"]
    group = manifests.group("cpu")
    assert wanted <= group["maxReplicas"] * cpus(group["template"]["spec"])


def test_the_port_that_serve_listens_on_is_the_heads_port_of_that_name(manifests):
    # KubeRay makes the Service from it.
    for where, pod in serving(manifests):
        ports = {port["name"]: port["containerPort"] for port in container(pod)["ports"]}
        http = manifests.serve_config["http_options"]
        assert (http["host"], http["port"]) == ("0.0.0.0", ports["serve"]), where


def test_probes_ask_what_they_are_about(manifests):
    for where, pod in ray_pods(manifests):
        if where.startswith(("CronJob", "Pod")):
            assert "livenessProbe" not in container(pod)
            continue
        live, ready = container(pod)["livenessProbe"], container(pod)["readinessProbe"]
        assert live["httpGet"]["path"] == "/api/healthz", where
        # The step that is not ready is a reason to send requests elsewhere, none to kill the node.
        assert live["periodSeconds"] * live["failureThreshold"] >= 600, where
        if where.startswith("RayService") and not where.endswith("head"):
            assert ready["exec"]["command"] == [
                "python",
                "-m",
                "hydra_ray.k8s.probe",
                "http://127.0.0.1:8000/readyz?llm=optional",
            ], where
        else:
            assert ready["httpGet"] == live["httpGet"], where


def test_nodes_serve_as_those_of_the_command_do_and_threads_wait(manifests):
    for where, pod in ray_pods(manifests):
        told = {one["name"]: one.get("value") for one in container(pod)["env"]}
        assert told["OMP_WAIT_POLICY"] == "PASSIVE", where
        of_serve = {name: value for name, value in told.items() if name in SERVING or name.startswith("RAY_SERVE_")}
        assert of_serve == (SERVING if where.startswith("RayService") else {}), where
        assert told["HF_HOME"].startswith(("/huggingface", "/cache")), where


def test_the_probe_is_of_the_standard_library_alone():
    from pathlib import Path

    import hydra_ray.k8s.probe as probe

    tree = ast.parse(Path(probe.__file__).read_text("utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name.startswith("hydra_ray") for name in imported)
