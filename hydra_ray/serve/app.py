"""Binds the deployments into one Serve application; `deployments/*.yaml` name `build` as their import path."""

from __future__ import annotations

import logging
import os
from typing import Any

from ray.serve import Application

from hydra_ray.methods import METHODS, needs_reranker
from hydra_ray.records import HydraError
from hydra_ray.runtime.draining import drain_s
from hydra_ray.runtime.embedding import make_embedder
from hydra_ray.runtime.models import first_served, used_roles
from hydra_ray.serve.adapter import Adapter
from hydra_ray.serve.feedback.refitter import Refitter
from hydra_ray.serve.generator import Generator
from hydra_ray.serve.http.keys import KeyAuthenticate
from hydra_ray.serve.http.principal import Authenticate, TrustThisMachine
from hydra_ray.serve.http.requests import PASSTHROUGH
from hydra_ray.serve.ingress import Ingress
from hydra_ray.serve.limits.limiter import Limiter
from hydra_ray.serve.profiler import Profiler
from hydra_ray.serve.reranker import Reranker
from hydra_ray.serve.retriever import Retriever
from hydra_ray.settings import Settings, parse_settings

log = logging.getLogger(__name__)

# Serve looks so often whether a replica lives, and starts another one when it does not. At its own 10 seconds requests
# would be done without a step for that much longer; a look costs less than a request does.
_WATCHED = {"health_check_period_s": 2.0}


def build(args: dict[str, Any]) -> Application:
    """Build the application that a Serve config file describes.

    Args:
        args: The settings tree, as in a settings file.

    Raises:
        HydraError: Wrong settings, or no trained base where they say, or one without the reranker that they want.
    """
    return build_app(parse_settings(args, "args"))


def build_app(settings: Settings) -> Application:
    """Build the application from checked settings."""
    check_methods(settings)
    # Replicas may have another working folder.
    there = settings.anchored()
    places = {
        "out": there.out,
        "model": there.model,
        "registry": there.registry,
        "store": there.store,
        "serve": there.serve,
    }
    settings = settings.model_copy(update=places)
    manifest = first_served(settings)
    if unused := set(manifest.roles) - set(used_roles(settings, manifest)):
        log.warning("version %s has a %s, which is not used (method.rerank is false)", manifest.version, *unused)
    # All of them: how long each step takes is a setting, and who is done goes at once.
    given = {"graceful_shutdown_timeout_s": drain_s(settings.serve), **_WATCHED}
    generator = Generator.options(**given).bind(settings)
    return Ingress.options(**given).bind(
        settings,
        Retriever.options(**given).bind(
            settings.store_target,
            settings.of_tenant(settings.tenant).peers,
            make_embedder(settings),
            settings.serve.index_cache_mb,
            settings.method.stemmer,
        ),
        Reranker.options(**given).bind(settings) if settings.method.rerank else None,
        generator,
        Adapter.options(**given).bind(settings),
        Profiler.options(**given).bind(manifest.task, settings, generator),
        _authenticate(settings),
        Limiter.options(**given).bind(settings.store_target, settings.logging) if limits_anything(settings) else None,
        Refitter.options(**given).bind(settings) if settings.fit.refit_items is not None else None,
    )


def check_methods(settings: Settings) -> None:
    """Check that every method that settings name is one that there is.

    Raises:
        HydraError: Names those that are not, and those that want a reranker where there is none.
    """
    named = {"serve.method": settings.serve.method}
    named |= {f"tenants.{name}.method": own.method for name, own in settings.tenants.items() if own.method is not None}
    arms = settings.serve.experiment.arms
    named |= {
        f"serve.experiment.arms.{name}.method": arm.method for name, arm in arms.items() if arm.method is not None
    }
    known = (*METHODS, PASSTHROUGH) if settings.passes_through else tuple(METHODS)
    wrong = [f"{place}: there is no {method!r}" for place, method in named.items() if method not in known]
    if wrong:
        raise HydraError(f"{'; '.join(wrong)}; there are {', '.join(known)}")
    lacking = [f"{place}: {method}" for place, method in named.items() if needs_reranker(method)]
    if lacking and not settings.method.rerank:
        raise HydraError(f"{'; '.join(lacking)} needs a reranker: set method.rerank to true")


def _authenticate(settings: Settings) -> Authenticate:
    if settings.auth.mode != "off":
        return KeyAuthenticate(settings.store_target, frozenset(settings.served_tenants), settings.serve.key_cache_s)
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        raise HydraError(
            "auth.mode: off answers this machine alone, and behind Serve's HAProxy (RAY_SERVE_ENABLE_HA_PROXY) nobody "
            "knows where a request is from: use keys"
        )
    return TrustThisMachine(settings.tenant)


def limits_anything(settings: Settings) -> bool:
    """Return whether some tenant has quotas, so that there is a limiter."""
    return any(settings.of_tenant(tenant).auth.limits.limits_anything for tenant in settings.served_tenants)
