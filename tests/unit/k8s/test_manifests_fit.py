"""What the manifests refer to is there, and what they run has room."""

from __future__ import annotations

import re
import tomllib

import yaml
from manifests import CLUSTERS, OVERLAYS, ROOT, commands, container, cpus, gpus, render, serve_config, served
from ray.serve import Deployment

from hydra_ray.serve import app


def test_volumes_that_are_mounted_are_there_and_so_are_their_sources(manifests):
    names = {kind: manifests.one(kind)["metadata"]["name"] for kind in ("ConfigMap", "PersistentVolumeClaim")}
    for where, pod in manifests.pods():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        mounted = {mount["name"] for mount in container(pod).get("volumeMounts", [])}
        assert mounted == volumes.keys(), where
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] == names["ConfigMap"], where
            else:
                assert volume["persistentVolumeClaim"]["claimName"] == names["PersistentVolumeClaim"], where


def test_every_ray_pod_sees_the_data(manifests):
    for where, pod in manifests.pods():
        paths = {mount["mountPath"] for mount in container(pod).get("volumeMounts", [])}
        assert ("/data" in paths) == (where != "RayJob submitter"), where


def test_the_volume_can_be_shared_as_far_as_its_pods_are_spread():
    for folder, mode in zip(OVERLAYS, ["ReadWriteMany", "ReadWriteMany", "ReadWriteOnce"], strict=True):
        assert render(folder).one("PersistentVolumeClaim")["spec"]["accessModes"] == [mode], folder


def test_a_prefix_reaches_every_reference(tmp_path):
    # References that kustomize does not know of would keep the old names.
    for file in (ROOT / "k8s" / "base").iterdir():
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    with (tmp_path / "kustomization.yaml").open("a", encoding="utf-8") as kustomization:
        kustomization.write("\nnamePrefix: team-\n")
    manifests = render(str(tmp_path))
    assert all(thing["metadata"]["name"].startswith("team-hydra-ray") for thing in manifests.objects)
    test_volumes_that_are_mounted_are_there_and_so_are_their_sources(manifests)


def test_secrets_are_optional_and_documented(manifests):
    docs = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    for where, pod in manifests.pods():
        names = [variable["name"] for variable in container(pod).get("env", [])]
        assert len(set(names)) == len(names), where
        for variable in container(pod).get("env", []):
            assert variable["name"] not in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"), "KubeRay sets these"
            if "valueFrom" in variable:
                secret = variable["valueFrom"]["secretKeyRef"]
                assert secret["optional"], where
                assert secret["name"] in docs
                assert secret["key"] in docs


def test_the_salt_key_reaches_whoever_asks_the_llm(with_gpus, tmp_path):
    (key,) = {settings.generator.vllm.salt_key_env for settings in commands(with_gpus, tmp_path).values()}
    assert served(with_gpus, "hydra").generator.vllm.salt_key_env == key
    for where, pod in with_gpus.pods():
        names = {variable["name"] for variable in container(pod).get("env", [])}
        assert (key in names) == (where != "RayJob submitter"), where


def test_weights_from_the_hub_stay_on_the_volume(manifests):
    for where, pod in manifests.pods():
        values = {variable["name"]: variable.get("value") for variable in container(pod).get("env", [])}
        assert where == "RayJob submitter" or values["HF_HOME"].startswith("/data/"), where


def test_one_image_runs_everywhere(manifests):
    (images,) = yaml.safe_load((ROOT / "k8s" / "base" / "kustomization.yaml").read_text(encoding="utf-8"))["images"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert images["newTag"] == project["version"]
    expected = f"{images['newName']}:{images['newTag']}"
    assert {container(pod)["image"] for _, pod in manifests.pods()} == {expected}
    for kind in CLUSTERS:
        assert "image" not in manifests.cluster(kind)["autoscalerOptions"], "the autoscaler takes the head's"


def test_no_pod_runs_as_root_or_gains_rights(manifests):
    contexts = [container(pod)["securityContext"] for _, pod in manifests.pods()]
    contexts += [manifests.cluster(kind)["autoscalerOptions"]["securityContext"] for kind in CLUSTERS]
    for context in contexts:
        assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for where, pod in manifests.pods():
        assert pod["securityContext"]["runAsNonRoot"], where
        assert pod["securityContext"]["runAsUser"] == 1000, where
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
        # Only the head's autoscaler talks to Kubernetes.
        assert where.endswith("head") or pod["automountServiceAccountToken"] is False, where


def test_a_pod_asks_for_no_more_than_it_may_use(manifests):
    for where, pod in manifests.pods():
        resources = container(pod)["resources"]
        assert resources["requests"].keys() == resources["limits"].keys() >= {"cpu", "memory"}, where
        for name, request in resources["requests"].items():
            assert _amount(request) <= _amount(resources["limits"][name]), where


def _amount(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(m|Mi|Gi|)", quantity).groups()
    return int(number) * {"m": 1e-3, "": 1, "Mi": 2**20, "Gi": 2**30}[unit]


def test_dev_asks_for_no_gpu_and_for_little():
    manifests = render("overlays/dev")
    for kind in CLUSTERS:
        assert [group["groupName"] for group in manifests.cluster(kind)["workerGroupSpecs"]] == ["cpu"]
    for where, pod in manifests.pods():
        assert gpus(pod) == 0, where
        assert _amount(container(pod)["resources"]["requests"]["cpu"]) <= 1, where


def test_gpu_groups_hold_the_llm(with_gpus):
    llm = served(with_gpus, "llm").generator.vllm
    group = with_gpus.group("RayService", "gpu")
    pod = group["template"]["spec"]
    assert gpus(pod) == llm.tensor_parallel * llm.pipeline_parallel, "one pod, one replica"
    assert group["minReplicas"] >= llm.min_replicas
    assert group["maxReplicas"] >= llm.max_replicas
    assert container(pod)["resources"]["requests"]["nvidia.com/gpu"] == str(gpus(pod)), "GPUs are not overcommitted"


def test_gpu_groups_hold_the_job(with_gpus, tmp_path):
    given = commands(with_gpus, tmp_path)
    group = with_gpus.group("RayJob", "gpu")
    assert group["minReplicas"] == 0, "no GPU waits while the commands do without"
    pod = group["template"]["spec"]
    for name in ("collect", "fit"):
        llm = given[name].generator.vllm
        assert gpus(pod) == llm.tensor_parallel * llm.pipeline_parallel, name
        assert group["maxReplicas"] >= llm.max_replicas, name
    assert group["maxReplicas"] * gpus(pod) >= given["train"].base.workers


def test_the_smallest_service_has_room_for_one_of_each_deployment(manifests):
    ours = [thing for thing in vars(app).values() if isinstance(thing, Deployment)]
    wanted = sum(deployment.ray_actor_options["num_cpus"] for deployment in ours)
    group = manifests.group("RayService", "cpu")
    assert wanted <= group["minReplicas"] * cpus(group["template"]["spec"])


def test_the_port_that_serve_listens_on_is_the_heads_port_of_that_name(manifests):
    # KubeRay makes the Service from it.
    head = container(manifests.cluster("RayService")["headGroupSpec"]["template"]["spec"])
    ports = {port["name"]: port["containerPort"] for port in head["ports"]}
    http = serve_config(manifests)["http_options"]
    assert (http["host"], http["port"]) == ("0.0.0.0", ports["serve"])


def test_the_gpu_overlay_goes_to_gpu_nodes_and_has_room_to_grow():
    base, overlay = render("base"), render("overlays/gpu")
    for kind in CLUSTERS:
        pod = overlay.group(kind, "gpu")["template"]["spec"]
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert pod["nodeSelector"].keys() == {"nvidia.com/gpu.product"}
        assert overlay.group(kind, "gpu")["maxReplicas"] > base.group(kind, "gpu")["maxReplicas"]
        assert "nodeSelector" not in overlay.group(kind, "cpu")["template"]["spec"]


def test_a_cluster_that_is_replaced_ends_its_requests_first(manifests):
    longest = app.drain_s(served(manifests, "hydra"))
    assert manifests.one("RayService")["spec"]["rayClusterDeletionDelaySeconds"] > longest
