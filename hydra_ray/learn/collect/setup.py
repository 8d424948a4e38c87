"""Makes what a collection asks with, from settings."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import ray

from hydra_ray.learn.collect.example_plan import tried_items
from hydra_ray.learn.collect.pipeline import GeneratorPool
from hydra_ray.learn.collect.requests import RequestWriter
from hydra_ray.learn.collect.store import RERANK
from hydra_ray.logs import set_up_logging
from hydra_ray.runtime.cluster import cores_of_a_node
from hydra_ray.runtime.embedding import make_embedder, ranked_by
from hydra_ray.runtime.factory import make_prompter, make_recipe
from hydra_ray.runtime.generators import make_generator, open_cache
from hydra_ray.runtime.threads import cores
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import Generator
from hydra_ray.tasks import Task


def make_request_writer(settings: Settings, task: Task) -> RequestWriter:
    """Make the writer of a collection's requests."""
    recipe, items = make_recipe(settings), tried_items(settings)
    return RequestWriter(make_prompter(settings, task), recipe, items, make_embedder(settings))


def collection_settings(settings: Settings, task: Task) -> dict[str, Any]:
    """Return the settings, by path, that feedback depends on: with others it is other feedback."""
    method = (
        *("stemmer", "shots", "candidates", "temperature", "greedy", "history_answers"),
        *("max_input_chars", "shot_words", "shot_chars"),
    )
    return {
        "data.task": task.name,
        # Not the task's own wording, which LaMP's files have in each split.
        "data.instruction": settings.data.instruction,
        "data.labels": sorted(task.labels),
        "generator.model": settings.generator.model,
        # None where nothing is set, as feedback of earlier versions has it.
        "generator.params": settings.generator.further_params or None,
        "feedback.items": settings.feedback.items,
        RERANK: settings.method.rerank,
        "method.retriever": ranked_by(settings),
        "method.prompts": [asdict(share) for share in make_recipe(settings).mix_of(task)] or None,
        **{f"method.{name}": getattr(settings.method, name) for name in method},
    }


def make_generator_pool(settings: Settings, task: Task) -> GeneratorPool:
    """Make the pool that asks the LLM. Wants a running Ray cluster."""
    cpus, gpus = None, 0
    if settings.generator.backend == "embedded":
        gpus = min(1, int(ray.cluster_resources().get("GPU", 0)))
        cpus = 1 if gpus else min(cores_of_a_node(), cores())
    return GeneratorPool(
        partial(_make_asking_generator, settings.anchored()),
        make_request_writer(settings, task),
        settings.generator.concurrency,
        settings.feedback.labelers,
        cpus,
        gpus,
    )


def _make_asking_generator(settings: Settings, shared_by: int) -> Generator:
    # The first thing that is made in a process of the pool.
    set_up_logging(settings.logging)
    return make_generator(settings, open_cache(settings), shared_by=shared_by)
