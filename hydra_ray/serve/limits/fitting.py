"""Limits that fit each other: whoever is let in at the ingress finds room at every step, in any Serve config."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hydra_ray.runtime.factory import make_recipe
from hydra_ray.serve.adapter import Adapter
from hydra_ray.serve.generator import Generator
from hydra_ray.serve.ingress import Ingress
from hydra_ray.serve.profiler import Profiler
from hydra_ray.serve.reranker import Reranker
from hydra_ray.serve.retriever import Retriever
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.steps.candidates import candidate_calls
from hydra_ray.steps.sources import retrievers_of

APP = "hydra_ray.serve.app:build"
ENGINE_APP = "hydra_ray.runtime.vllm_app:build"
# To a checker that skips Ray they are the classes themselves.
_DEPLOYMENTS: tuple[Any, ...] = (Ingress, Retriever, Reranker, Generator, Adapter, Profiler)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many calls the replicas of one deployment take.

    Attributes:
        name: Name of the deployment.
        ongoing: Calls that a replica works on at once.
        queued: Calls that wait in each process that calls; -1 is any number.
        fewest: Fewest replicas.
        most: Most replicas.
    """

    name: str
    ongoing: int
    queued: int
    fewest: int
    most: int

    @property
    def asks(self) -> int:
        """Most requests that all replicas work on at once."""
        return self.most * self.ongoing

    def admitted(self, callers: int) -> float:
        """Return how many calls of so many processes find room when there are as few replicas as there may be."""
        return math.inf if self.queued < 0 else self.fewest * self.ongoing + callers * self.queued


def misfits(config: Mapping[str, Any]) -> list[str]:
    """Return what does not fit in a Serve config, a line each; none where all of it does.

    Args:
        config: The config, as YAML gives it.
    """
    applications = [(one, parse_settings(one.get("args") or {}, "args")) for one in config["applications"]]
    engines = [_engine(settings) for one, settings in applications if one["import_path"] == ENGINE_APP]
    found: list[str] = []
    for application, settings in applications:
        if application["import_path"] == APP:
            limits = _limits(application)
            if not settings.method.rerank:
                del limits["Reranker"]
            found += _misfits(limits, settings, engines)
    return found


def ongoing_by_deployment() -> dict[str, int]:
    """Return how many requests a replica of each of our deployments has in hand, as long as no config says more."""
    return {name: one.ongoing for name, one in _limits({}).items()}


def _misfits(limits: Mapping[str, Limits], settings: Settings, engines: list[Limits]) -> Iterator[str]:
    recipe, ingress = make_recipe(settings), limits["Ingress"]
    # Whichever the task: that of texts asks more.
    mix = recipe.mix_of_texts
    # All requests of a prompt are one call of the generator's deployment, however the endpoint is then asked for them.
    calls = max(1, len(mix))
    retrievals = len(retrievers_of(mix, recipe.retriever))
    for name, times in (
        ("Retriever", retrievals),
        ("Reranker", 1),
        ("Generator", calls),
        ("Adapter", 1),
        ("Profiler", 1),
    ):
        if name in limits:
            yield from _misfit(ingress, limits[name], times)
    # A profile is written by one call at a time.
    yield from _misfit(limits["Profiler"], limits["Generator"], 1)
    samples = settings.generator.dialect.samples
    requests = max(
        candidate_calls([share], lambda wanted: math.ceil(wanted / (samples or wanted)))
        for share in mix or recipe.one_share
    )
    for engine in engines:
        yield from _misfit(limits["Generator"], engine, requests)


def _misfit(caller: Limits, step: Limits, times: int) -> Iterator[str]:
    asks, admitted = caller.asks * times, step.admitted(caller.most)
    if asks > admitted:
        yield (
            f"{caller.name} asks {step.name} up to {asks} times at once ({caller.most} replicas of "
            f"max_ongoing_requests {caller.ongoing}, {times} a request), which admits {admitted:g}: raise its "
            "max_queued_requests"
        )


def _limits(application: Mapping[str, Any]) -> dict[str, Limits]:
    """The limits of our deployments: those in the code, and what the config says over them."""
    own = {one["name"]: one for one in application.get("deployments") or ()}
    found = {}
    for deployment in _DEPLOYMENTS:
        override = own.get(deployment.name, {})
        scaling = override.get("autoscaling_config") or {}
        given = override.get("num_replicas")
        # What Ray makes of `auto`.
        fewest, most = (1, 100) if given == "auto" else (given or 1,) * 2
        found[deployment.name] = Limits(
            deployment.name,
            override.get("max_ongoing_requests", deployment.max_ongoing_requests),
            override.get("max_queued_requests", deployment.max_queued_requests),
            scaling.get("min_replicas", fewest),
            scaling.get("max_replicas", most),
        )
    return found


def _engine(settings: Settings) -> Limits:
    v = settings.generator.vllm
    return Limits("Engine", v.max_ongoing_requests, v.max_queued_requests, v.min_replicas, v.max_replicas)
