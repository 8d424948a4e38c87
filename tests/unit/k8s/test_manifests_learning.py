"""What the manifests repeat is the same everywhere: the Serve configs, the demo, the job and the service."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml
from manifests import ROOT, SETTINGS, commands, container, cpus, render, serve_config, served

from hydra_ray.demo import demo_settings
from hydra_ray.settings import AuthSettings, EvaluateSettings, parse_settings


def deployments_file(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deployments" / name).read_text(encoding="utf-8"))


def test_the_service_runs_the_file_for_one_gpu(with_gpus):
    assert serve_config(with_gpus) == deployments_file("vllm-gpu.yaml")


def test_the_dev_service_runs_the_local_file_where_a_kubernetes_service_reaches_it():
    expected = deployments_file("local.yaml")
    assert expected["http_options"] == {"host": "127.0.0.1", "port": 8000}
    expected["http_options"]["host"] = "0.0.0.0"
    # Of others than this machine keys are wanted.
    args = expected["applications"][0]["args"]
    assert parse_settings(args).auth.mode == "off"
    args["auth"] = {"mode": "keys"}
    assert serve_config(render("overlays/dev")) == expected


def test_the_dev_job_learns_what_the_demo_learns_and_the_dev_service_serves(tmp_path):
    manifests = render("overlays/dev")
    given = commands(manifests, tmp_path)["train"]
    assert given.ray.address == "auto"
    # The job compares no methods.
    demo = demo_settings(Path("runs/demo")).model_copy(update={"evaluate": EvaluateSettings()})
    service = served(manifests, "hydra")
    assert service.auth.mode == "keys"
    assert given.model_copy(update={"ray": demo.ray}) == demo == service.model_copy(update={"auth": AuthSettings()})


def test_a_relative_place_is_on_the_volume_in_every_pod_of_both():
    manifests = render("overlays/dev")
    assert not served(manifests, "hydra").out.is_absolute()
    for name, pod in manifests.pods():
        if name != "RayJob submitter":
            assert container(pod)["workingDir"] == "/data", name


def test_the_service_finds_what_the_job_leaves(with_gpus, tmp_path):
    job, hydra = commands(with_gpus, tmp_path)["train"], served(with_gpus, "hydra")
    assert job.model_dir.is_relative_to("/data")
    for name in ("tenant", "model_dir", "store_url", "method"):
        assert getattr(job, name) == getattr(hydra, name), name


def test_heads_learn_from_the_llm_that_answers(with_gpus, tmp_path):
    job, llm = commands(with_gpus, tmp_path)["collect"].generator, served(with_gpus, "llm").generator
    for part in ("model", "vllm.dtype", "vllm.max_model_len", "vllm.engine", "vllm.prefix_caching"):
        a, b = (_part(settings, part) for settings in (job, llm))
        assert a == b, part


def _part(settings: Any, path: str) -> Any:
    for name in path.split("."):
        settings = getattr(settings, name)
    return settings


def test_the_job_runs_as_one_command(manifests):
    # KubeRay puts the entrypoint into `ray job submit ... -- ENTRYPOINT ;` of the submitter's shell, so an operator
    # outside quotes would be that shell's, and run what follows in the wrong pod.
    entrypoint = manifests.one("RayJob")["spec"]["entrypoint"]
    words = list(shlex.shlex(entrypoint, posix=True, punctuation_chars=True))
    assert len(words) == 3
    assert words[:2] == ["bash", "-c"]
    assert not {"$", "`", "\\"} & set(entrypoint), "the submitter's shell would expand it"


def test_the_job_learns_in_order_with_settings_that_parse(manifests, tmp_path):
    given = commands(manifests, tmp_path)
    assert list(given) == ["collect", "train", "fit"]
    assert [tree.users for tree in given.values()] == ["train", "train", "dev"]
    assert all(tree.ray.address == "auto" for tree in given.values()), "the cluster of the job, not one of its own"


def test_the_job_reads_records_and_uses_gpus(with_gpus, tmp_path):
    given = commands(with_gpus, tmp_path)["train"]
    assert given.data.format == "records"
    assert given.data.path == "/data/records.parquet"
    assert given.base.gpu
    # auto would look while the autoscaler has not brought a GPU yet.
    assert (given.generator.backend, given.generator.vllm.device) == ("vllm", "gpu")


def test_the_settings_are_where_the_commands_run(manifests):
    # On the head without entrypointNumCpus, on any worker with it.
    for name, pod in manifests.pods():
        if name.startswith("RayJob") and name != "RayJob submitter":
            mounts = {mount["mountPath"]: mount["name"] for mount in container(pod)["volumeMounts"]}
            (volume,) = (v for v in pod["volumes"] if v["name"] == mounts[str(Path(SETTINGS).parent)])
            assert volume["configMap"]["name"] == manifests.one("ConfigMap")["metadata"]["name"], name


def test_the_commands_find_a_node_and_leave_room_for_their_tasks(manifests, tmp_path):
    spec = manifests.one("RayJob")["spec"]
    own = spec.get("entrypointNumCpus", 0)
    workers = manifests.group("RayJob", "cpu")
    assert workers["minReplicas"] > 0
    node = cpus(workers["template"]["spec"])
    # On CPUs training takes all of a node's but one, which Ray Data needs.
    training = 0 if commands(manifests, tmp_path)["train"].base.gpu else node - 1
    assert own + training + 1 <= node


def test_the_job_ends_and_cleans_up(manifests):
    spec = manifests.one("RayJob")["spec"]
    assert spec["shutdownAfterJobFinishes"]
    assert 0 < spec["ttlSecondsAfterFinished"] < spec["activeDeadlineSeconds"]
    assert spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]
    assert spec["backoffLimit"] > 0
    assert spec["submitterPodTemplate"]["spec"]["restartPolicy"] == "Never"


def test_every_service_wants_keys_whose_database_the_job_leaves(with_gpus):
    for manifests in (with_gpus, render("overlays/dev")):
        assert served(manifests, "hydra").auth.mode != "off"
