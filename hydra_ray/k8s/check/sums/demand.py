"""What the replicas of a Serve config ask for at their most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hydra_ray.k8s.check.content.deployments import used_deployments
from hydra_ray.k8s.check.content.serve import ServeConfig
from hydra_ray.k8s.check.reading.objects import mapping
from hydra_ray.settings import Settings

# Replicas of a deployment that is `num_replicas: auto` (Ray's default for it).
_AUTO = 100
_NOTHING: Mapping[str, Any] = {}
_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True, slots=True)
class Demand:
    """Replicas of one deployment.

    Attributes:
        name: Name of the deployment.
        path: Where it is in the Serve config.
        replicas: Most of them.
        cpus: CPUs of one, as Ray counts them.
        gpus: GPUs of one.
        memory: Bytes that one may take, as far as settings bound it: its caches, or what it is given.
        per_node: Most on one node.
    """

    name: str
    path: str
    replicas: int
    cpus: float
    gpus: float
    memory: int
    per_node: float


def demands(config: ServeConfig) -> Iterator[Demand]:
    """Yield what each deployment of hydra-ray's applications asks for."""
    for place, application, settings in config.ours:
        overrides: dict[str, tuple[int | None, Mapping[str, Any]]]
        overrides = {one["name"]: (number, one) for number, one in enumerate(application.get("deployments") or ())}
        for name, deployment in used_deployments(settings).items():
            number, own = overrides.get(name, (None, _NOTHING))
            path = f"applications[{place}]" + (f".deployments[{number}]" if number is not None else "")
            options = {**(deployment.ray_actor_options or {}), **mapping(own.get("ray_actor_options"))}
            cpus, gpus = float(options.get("num_cpus", 1)), float(options.get("num_gpus") or 0)
            memory = max(int(options.get("memory") or 0), _caches(name, settings))
            per_node = own.get("max_replicas_per_node") or math.inf
            yield Demand(name, path, most_replicas(own), cpus, gpus, memory, per_node)
    for place, application, settings in config.engines:
        yield _engine(f"applications[{place}].args.generator.vllm", application, settings)


def most_replicas(deployment: Mapping[str, Any]) -> int:
    """Return how many replicas a deployment may have, by what a Serve config says of it."""
    scaling = deployment.get("autoscaling_config")
    given = deployment.get("num_replicas")
    if scaling or given == "auto":
        return int(mapping(scaling).get("max_replicas", _AUTO if given == "auto" else 1))
    return int(given or 1)


def _engine(path: str, application: Mapping[str, Any], settings: Settings) -> Demand:
    v = settings.generator.vllm
    workers = v.tensor_parallel * v.pipeline_parallel
    own: Mapping[str, Any] = next(iter(application.get("deployments") or ()), _NOTHING)
    replicas = most_replicas(own) if own.get("num_replicas") or own.get("autoscaling_config") else v.max_replicas
    # As runtime.vllm_app places it: a GPU or a CPU a worker, and on GPUs a CPU for the replica itself.
    on_gpu = v.device != "cpu"
    memory = 0 if on_gpu else int((v.kv_cache_gib or 1) * _GIB)
    return Demand("Engine", path, replicas, 1 if on_gpu else workers, workers if on_gpu else 0, memory, math.inf)


def _caches(name: str, settings: Settings) -> int:
    """Bytes that the caches of a deployment's replica may take."""
    serve = settings.serve
    if name == "Retriever":
        return serve.index_cache_mb * _MIB
    if name in ("Reranker", "Adapter"):
        return (serve.head_cache_mb + serve.encoding_cache_mb) * _MIB
    return 0
