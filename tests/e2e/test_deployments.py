"""The Serve config files say what they should."""

from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from hydra_ray.demo import demo_settings
from hydra_ray.runtime.vllm_app import llm_config
from hydra_ray.serve.adapter import Adapter
from hydra_ray.serve.generator import Generator
from hydra_ray.serve.ingress import Ingress
from hydra_ray.serve.profiler import Profiler
from hydra_ray.serve.retriever import Retriever
from hydra_ray.settings import AuthSettings, EvaluateSettings, parse_settings

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"


def test_the_local_file_serves_what_the_demo_trains():
    config = ServeDeploySchema.model_validate(yaml.safe_load((DEPLOYMENTS / "local.yaml").read_text()))
    (application,) = config.applications
    assert application.import_path == "hydra_ray.serve.app:build"
    here = {"evaluate": EvaluateSettings(), "auth": AuthSettings(mode="off")}
    assert parse_settings(application.args) == demo_settings(Path("runs/demo")).model_copy(update=here)
    assert config.http_options.host == "127.0.0.1"


@pytest.mark.parametrize("name", ["openai.yaml", "vllm-cpu.yaml", "vllm-gpu.yaml", "vllm-cluster.yaml"])
def test_all_others_want_keys(name):
    config = ServeDeploySchema.model_validate(yaml.safe_load((DEPLOYMENTS / name).read_text()))
    served = parse_settings(next(one.args for one in config.applications if one.name == "hydra"))
    assert served.auth.mode in (None, "keys")


def test_through_vllm_the_demos_users_are_answered_as_they_were_learnt():
    config = ServeDeploySchema.model_validate(yaml.safe_load((DEPLOYMENTS / "vllm-cpu.yaml").read_text()))
    served = parse_settings(next(one.args for one in config.applications if one.name == "hydra"))
    demo = demo_settings(Path("runs/demo"))
    assert (served.seed, served.out, served.method, served.fit) == (demo.seed, demo.out, demo.method, demo.fit)


@pytest.mark.parametrize("name", ["local.yaml", "vllm-cpu.yaml"])
def test_what_is_for_one_machine_fits_two_cores(name):
    """What asks for more CPUs than `serve run` finds waits for ever, and says so in a log only."""
    config = ServeDeploySchema.model_validate(yaml.safe_load((DEPLOYMENTS / name).read_text()))
    cpus = 0.0
    for application in config.applications:
        if application.name == "llm":
            told = llm_config(parse_settings(application.args).generator, gpu=False, longest_s=1)
            cpus += sum(bundle["CPU"] for bundle in told["placement_group_config"]["bundles"])
            cpus += told["deployment_config"]["ray_actor_options"]["num_cpus"]
            continue
        ours = (Ingress, Retriever, Generator, Adapter, Profiler)
        own = {deployment.name: deployment.ray_actor_options["num_cpus"] for deployment in ours}
        own |= {override.name: override.ray_actor_options.num_cpus for override in application.deployments}
        cpus += sum(own.values())
    assert 0 < cpus <= 2
