"""What is said twice is the same everywhere: Serve configs, the demo, the jobs and the service."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import PROFILES, ROOT, SETTINGS, container, cpus, rendered

from hydra_ray.demo import demo_settings
from hydra_ray.learn.tune.space import load_search
from hydra_ray.settings import AuthSettings, EvaluateSettings, StoreSettings, parse_settings

FILES = {"openai": "openai.yaml", "gpu": "vllm-gpu.yaml", "cluster": "vllm-cluster.yaml", "dev": "local.yaml"}


def deployments_file(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deployments" / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("profile", PROFILES)
def test_the_service_runs_the_file_of_deployments(profile):
    expected, config = deployments_file(FILES[profile]), rendered(profile).serve_config
    # A Kubernetes Service cannot reach 127.0.0.1, and of others than this machine keys are wanted.
    expected["http_options"]["host"] = "0.0.0.0"
    args, own = (tree["applications"][0].pop("args") for tree in (config, expected))
    assert config == expected
    own.pop("auth", None)
    assert args.pop("auth") == {"mode": "keys"}
    own["out"] = "/data/hydra"
    if profile == "gpu":
        # One machine keeps users in a file; several nodes cannot.
        own["store"] = {"url": "postgresql+psycopg://hydra@postgres/hydra", "max_connections": 80}
        own["store"]["password_env"] = "HYDRA_STORE_PASSWORD"
    if profile == "dev":
        own["store"] = {"url": "sqlite:////store/users.db"}
    assert args == own


def test_dev_learns_and_serves_what_the_demo_does(tmp_path):
    made = rendered("dev")
    # The jobs compare no methods.
    demo = demo_settings(Path("/data/hydra")).model_copy(
        update={"evaluate": EvaluateSettings(), "store": StoreSettings(url="sqlite:////store/users.db")}
    )
    assert made.served().model_copy(update={"auth": AuthSettings()}) == demo
    job = made.commands(tmp_path)["train"]
    assert job.ray.address == "auto"
    assert job.model_copy(update={"ray": demo.ray}) == demo


def test_the_service_finds_what_the_jobs_leave(manifests, tmp_path):
    hydra = manifests.served()
    for command, job in manifests.commands(tmp_path).items():
        assert job.model_dir.is_relative_to("/data")
        for name in ("tenant", "model_dir", "registry_url", "store_url", "method", "feedback_dir"):
            assert getattr(job, name) == getattr(hydra, name), (command, name)


def test_heads_learn_from_the_llm_that_answers(manifests, tmp_path):
    job, hydra = manifests.commands(tmp_path)["collect"].generator, manifests.served().generator
    if hydra.backend == "vllm":
        engine = manifests.served("llm").generator
        assert (job.model, job.dtype) == (engine.model, engine.dtype)
        counts = {"min_replicas", "max_replicas"}
        assert job.vllm.model_dump(exclude=counts) == engine.vllm.model_dump(exclude=counts)
        # auto would look while no GPU is there yet.
        assert job.vllm.device == "gpu"
    else:
        assert job == hydra


def test_jobs_run_in_order_with_settings_that_parse(manifests, tmp_path):
    given = manifests.commands(tmp_path)
    assert list(given) == ["collect", "train", "tune", "fit", "evaluate"]
    assert {name: tree.users for name, tree in given.items() if name != "evaluate"} == {
        "collect": "train",
        "train": "train",
        "tune": "dev",
        "fit": "dev",
    }
    assert given["evaluate"].data.split == "dev"
    assert all(tree.ray.address == "auto" for tree in given.values()), "the cluster of the job, not one of its own"


def test_a_job_is_one_plain_command(manifests):
    # KubeRay puts the entrypoint into `ray job submit ... -- ENTRYPOINT ;` of the submitter's shell, so an operator
    # would be that shell's, and run what follows in the wrong pod.
    for name, job in manifests.all("RayJob").items():
        words = list(shlex.shlex(job["spec"]["entrypoint"], posix=True, punctuation_chars=True))
        assert not {"&&", ";", "|", "&", ">"} & set(words), name
        assert not {"$", "`", "\\", '"', "'"} & set(job["spec"]["entrypoint"]), name


def test_the_search_of_tune_is_beside_the_settings(manifests, tmp_path):
    words = shlex.split(manifests.one("RayJob", "tune")["spec"]["entrypoint"])
    path = Path(words[words.index("--search") + 1])
    assert path.parent == Path(SETTINGS).parent
    for name, text in manifests.one("ConfigMap", manifests.settings_name)["data"].items():
        (tmp_path / name).write_text(text)
    assert load_search(tmp_path / path.name).trials == 24


def test_the_refit_fits_what_the_store_holds_for_who_is_served(manifests, tmp_path):
    pod = manifests.one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    program, command, path, *overrides = container(pod)["command"]
    assert (program, command, path) == ("hydra-ray", "fit", SETTINGS)
    file = tmp_path / "settings.yaml"
    file.write_text(manifests.one("ConfigMap", manifests.settings_name)["data"]["settings.yaml"])
    from hydra_ray.settings import load_settings

    settings = load_settings(file, overrides)
    assert (settings.data.format, settings.model.version, settings.ray.address) == ("store", "production", None)
    assert settings.store_url == manifests.served().store_url
    mounts = {mount["mountPath"] for mount in container(pod)["volumeMounts"]}
    assert {"/data", "/etc/hydra-ray", "/dev/shm"} <= mounts
    # Ray's objects take a share of the memory, which is there.
    shared = next(volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shared-memory")
    assert shared == {"medium": "Memory", "sizeLimit": container(pod)["resources"]["limits"]["memory"]}


def test_somebody_can_type_commands_where_the_data_and_the_settings_are(manifests):
    pod = manifests.one("Pod", "-admin")
    # Policies of jobs let it reach what the commands want.
    policy = manifests.one("NetworkPolicy", "learning")["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= pod["metadata"]["labels"].items()
    mounts = {mount["mountPath"]: mount for mount in container(pod["spec"])["volumeMounts"]}
    assert "readOnly" not in mounts["/data"]
    assert mounts[str(Path(SETTINGS).parent)]["name"] == "settings"
    assert pod["spec"]["activeDeadlineSeconds"] > 3600


def test_the_settings_are_where_the_commands_run(manifests):
    # On the head without entrypointNumCpus, on any worker with it.
    for where, pod in manifests.pods():
        if where.startswith("RayJob") and not where.endswith("submitter"):
            mounts = {mount["mountPath"]: mount["name"] for mount in container(pod)["volumeMounts"]}
            assert mounts[str(Path(SETTINGS).parent)] == "settings", where


def test_the_commands_find_a_node_and_leave_room_for_their_tasks(manifests, tmp_path):
    for name, settings in manifests.commands(tmp_path).items():
        own = manifests.one("RayJob", name)["spec"].get("entrypointNumCpus", 0)
        workers = manifests.group("cpu", name)
        assert workers["minReplicas"] > 0
        node = cpus(workers["template"]["spec"])
        # On CPUs training takes all of a node's but one, which Ray Data needs.
        training = node - 1 if name == "train" and not settings.base.gpu and own == 0 else 1
        assert own + training + 1 <= node, name


def test_every_service_wants_keys(manifests):
    assert manifests.served().auth.mode == "keys"
    assert parse_settings({"auth": {"mode": "keys"}}).auth == manifests.served().auth
