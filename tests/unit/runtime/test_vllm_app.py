"""Our settings in vLLM's terms; the engine itself is tested in tests/e2e/test_vllm.py."""

import os

import pytest

from hydra_ray.records import HydraError
from hydra_ray.runtime.vllm_app import build, llm_config, model_source
from hydra_ray.settings import GeneratorSettings, SettingsError


def config(gpu: bool, model: str = "demo", **vllm):
    return llm_config(GeneratorSettings.model_validate({"backend": "vllm", "model": model, "vllm": vllm}), gpu, 130)


def test_a_cluster_of_gpus():
    told = config(
        True,
        "some/model",
        accelerator="H100",
        tensor_parallel=4,
        pipeline_parallel=2,
        dtype="bfloat16",
        max_model_len=16384,
        kv_cache_gib=1.5,
        prefix_caching=False,
        min_replicas=0,
        max_replicas=8,
        target_ongoing_requests=48,
        max_ongoing_requests=96,
        engine={"quantization": "fp8"},
    )
    assert told["model_loading_config"]["model_source"] == "some/model"
    assert told["accelerator_type"] == "H100"
    assert told["placement_group_config"] == {"bundles": [{"GPU": 1}] * 8}
    assert told["deployment_config"] == {
        "autoscaling_config": {"min_replicas": 0, "max_replicas": 8, "target_ongoing_requests": 48},
        "max_ongoing_requests": 96,
        # Serve would give it 20 seconds, which is less than an answer may take.
        "graceful_shutdown_timeout_s": 130,
        "ray_actor_options": {"num_cpus": 1},
    }
    assert told["engine_kwargs"] == {
        "tensor_parallel_size": 4,
        "pipeline_parallel_size": 2,
        "dtype": "bfloat16",
        "max_model_len": 16384,
        "kv_cache_memory_bytes": 3 << 29,
        "enable_prefix_caching": False,
        "quantization": "fp8",
    }


def test_a_gpu_keeps_its_whole_memory_unless_told():
    assert "kv_cache_memory_bytes" not in config(True)["engine_kwargs"]


def test_cpus_prefill_whole_prompts_in_one_step():
    told = config(False, max_model_len=10000, accelerator=None)["engine_kwargs"]
    assert told["enable_chunked_prefill"] is False
    assert told["max_num_batched_tokens"] >= told["max_model_len"] == 10000
    assert told["kv_cache_memory_bytes"] == 1 << 30
    assert config(False)["placement_group_config"] == {"bundles": [{"CPU": 1}]}


@pytest.mark.parametrize("forced", ["float32", "bfloat16"])
def test_on_cpus_auto_is_what_the_processor_is_fastest_at(monkeypatch, forced):
    """vLLM's own auto is the checkpoint's type, whatever the processor."""
    monkeypatch.setenv("HYDRA_PRECISION", forced)
    assert config(False)["engine_kwargs"]["dtype"] == forced
    assert config(True)["engine_kwargs"]["dtype"] == "auto"
    for said in ("float32", "bfloat16", "float16"):
        assert config(False, dtype=said)["engine_kwargs"]["dtype"] == said
    assert config(False, engine={"dtype": "float16"})["engine_kwargs"]["dtype"] == "float16"


def test_what_is_told_to_the_engine_directly_goes_last():
    assert config(False, engine={"block_size": 64})["engine_kwargs"]["block_size"] == 64


def test_ray_takes_the_configuration():
    llm = pytest.importorskip("ray.serve.llm", reason="vLLM is not installed")
    for gpu in (True, False):
        assert llm.LLMConfig(**config(gpu)).max_request_context_length is None


def test_a_path_is_made_whole_and_a_name_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoint").mkdir()
    assert model_source("checkpoint") == str(tmp_path / "checkpoint")
    assert model_source("some/model") == "some/model"
    assert os.path.isfile(os.path.join(model_source("demo"), "config.json"))


def test_an_engine_is_hosted_for_vllm_only():
    with pytest.raises(HydraError, match=r"generator\.backend: .* not for embedded"):
        build({})


@pytest.mark.parametrize(
    ("vllm", "message"),
    [
        ({"min_replicas": 3, "max_replicas": 2}, "generator.vllm: .*min_replicas .3. is more than max_replicas .2."),
        ({"tensor_parallel": 0}, "generator.vllm.tensor_parallel"),
        ({"tensor_paralel": 2}, r"generator.vllm.tensor_paralel: no such setting"),
    ],
)
def test_wrong_settings_are_named(vllm, message):
    with pytest.raises(SettingsError, match=message):
        build({"generator": {"backend": "vllm", "vllm": vllm}})
