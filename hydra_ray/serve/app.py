"""Binds the deployments into one Serve application; `deployments/*.yaml` name `build` as their import path."""

from __future__ import annotations

from typing import Any

from ray.serve import Application

from hydra_ray.methods import METHODS
from hydra_ray.records import HydraError
from hydra_ray.runtime.embedding import make_embedder
from hydra_ray.runtime.models import first_served
from hydra_ray.serve.adapter import Adapter
from hydra_ray.serve.generator import Generator
from hydra_ray.serve.http.principal import TrustEveryone
from hydra_ray.serve.ingress import Ingress
from hydra_ray.serve.profiler import Profiler
from hydra_ray.serve.reranker import Reranker
from hydra_ray.serve.retriever import Retriever
from hydra_ray.settings import Settings, parse_settings


def build(args: dict[str, Any]) -> Application:
    """Build the application that a Serve config file describes.

    Args:
        args: The settings tree, as in a settings file.

    Raises:
        HydraError: Wrong settings, or no trained base where they say.
    """
    return build_app(parse_settings(args, "args"))


def build_app(settings: Settings) -> Application:
    """Build the application from checked settings."""
    if settings.serve.method not in METHODS:
        raise HydraError(f"serve.method: there is no {settings.serve.method!r}; there are {', '.join(METHODS)}")
    # Replicas may have another working folder.
    settings = settings.model_copy(update={"registry": settings.anchored().registry})
    task = first_served(settings).task
    generator = Generator.bind(settings)
    return Ingress.bind(
        settings,
        Retriever.bind(
            settings.store_url,
            settings.peers,
            make_embedder(settings),
            settings.serve.index_cache_mb,
            settings.method.stemmer,
        ),
        Reranker.bind(settings),
        generator,
        Adapter.bind(settings),
        Profiler.bind(task, settings, generator),
        TrustEveryone(settings.tenant),
    )
