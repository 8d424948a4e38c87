"""A cross-validation of simulated people: a tiny encoder reads, and an LLM that knows the moods but no person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.simulated import labels_in
from hydra_ray.evaluate.crossval import asking, everybody, job
from hydra_ray.evaluate.crossval.recipes import Recipes, read_recipes
from hydra_ray.evaluate.crossval.result import Validation
from hydra_ray.progress import SILENT
from hydra_ray.records import ChatRequest
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.tasks.demo import DEMO_LABELS

PROMPTS = {"zero-shot": {"samples": 4}, "nearest": {"retriever": "bm25", "samples": 4}}


def study_settings(out: Path, encoder: Path, **other: Any) -> Settings:
    return parse_settings(
        {
            "out": str(out),
            "data": {"format": "simulated", "train_users": 16, "dev_users": 8, "history": 16},
            "base": {"encoder": {"name": str(encoder), "max_tokens": 64}, "epochs": 2},
            "evaluate": {"folds": 3, "repeats": 1, "bootstrap": 200},
            **other,
        }
    )


def study_recipes(settings: Settings, recipes: dict[str, Any] | None = None) -> Recipes:
    tree = {"prompts": PROMPTS, "candidates": {"nearest": 4}, "recipes": recipes or {"default": {}}}
    return read_recipes(tree, settings, "recipes")


def moods(request: ChatRequest) -> Sequence[str]:
    """Answers of an LLM that reads the moods of a text, and guesses whose it is."""
    found = labels_in(request.messages[-1].content) or DEMO_LABELS
    return Random(f"{request.messages[-1].content}/{request.temperature}").choices(found, k=request.n)


class Study:
    """Cross-validations whose LLM is a script.

    Attributes:
        generator: The LLM, with what it was asked.
    """

    def __init__(self, generator: Any, monkeypatch: Any) -> None:
        self.generator, self._patch = generator, monkeypatch

        async def close() -> None:
            pass

        generator.close = close
        # The cache stays the real one: what it holds is not asked.
        monkeypatch.setattr("hydra_ray.runtime.generators.make_backend", lambda *_, **__: generator)

    def with_data(self, change: Any) -> None:
        """Have the data changed after it is loaded, by a function of the data set."""
        load = everybody.load_everybody

        def changed(settings: Settings) -> Any:
            task, dataset = load(settings)
            return task, change(dataset)

        self._patch.setattr(job, "load_everybody", changed)

    def run(self, settings: Settings, recipes: Recipes) -> Validation:
        return job.cross_validate(settings, recipes, SILENT)


def with_golds(dataset: Dataset, golds: dict[str, str]) -> Dataset:
    return replace(dataset, golds={**dataset.golds, **golds})


__all__ = ["PROMPTS", "Study", "asking", "moods", "study_recipes", "study_settings", "with_golds"]
