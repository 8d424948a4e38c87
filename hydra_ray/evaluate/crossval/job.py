"""Cross-validates recipes over users of one or several tasks, in this process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.evaluate.crossval.asking import ask, plan_asking
from hydra_ray.evaluate.crossval.encodings import EncodingFolder
from hydra_ray.evaluate.crossval.everybody import load_everybody, with_task
from hydra_ray.evaluate.crossval.features import known_features
from hydra_ray.evaluate.crossval.gated import GatedAnswer, gated_answers
from hydra_ray.evaluate.crossval.material import make_material
from hydra_ray.evaluate.crossval.recipes import Recipes, TriedRecipe
from hydra_ray.evaluate.crossval.report import write_validation
from hydra_ray.evaluate.crossval.result import TaskValidation, Validation
from hydra_ray.evaluate.crossval.rows import write_rows
from hydra_ray.evaluate.crossval.score import Validated, overall, score_task
from hydra_ray.evaluate.crossval.validate import HeldOutAnswer, validate
from hydra_ray.evaluate.scoring.headline import HeadlineRows
from hydra_ray.learn.collect.plan import real_examples
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.progress import ProgressBars, ProgressListener
from hydra_ray.records import HydraError
from hydra_ray.runtime.vllm_app import generator_running
from hydra_ray.settings import Settings


@dataclass(slots=True)
class _Spent:
    """What a cross-validation took: LLM requests made now, those answered before, texts encoded now."""

    calls: int
    known: int
    encoded: int


def cross_validate(settings: Settings, recipes: Recipes, listener: ProgressListener) -> Validation:
    """Ask, train, fit and answer fold by fold; write results and out-of-fold rows to `out`.

    The LLM's answers and encodings are kept, so that other recipes over the same prompts ask and encode nothing.

    Raises:
        HydraError: The data has no answers, too few users, or tasks of its own are named for other data than LaMP's.
        UnfinishedError: Not every query was answered; the next run asks just the rest.
    """
    wanted = settings.evaluate
    if wanted.tasks and settings.data.format != "lamp":
        raise HydraError("evaluate.tasks: only data.format lamp has a folder of tasks; set data.task instead")
    spent = _Spent(0, 0, 0)
    results, rows = list[TaskValidation](), list[dict[str, HeadlineRows]]()
    running = generator_running(settings) if settings.generator.backend == "vllm" else contextlib.nullcontext()
    with running:
        for name in wanted.tasks or (settings.data.task,):
            validated = _task(with_task(settings, name), recipes, listener, spent)
            found, headlines = score_task(validated, recipes.recipes, wanted, settings.seed)
            for recipe in recipes.recipes:
                write_rows(settings.out / found.task / f"{recipe.name}.parquet", validated, recipe.name)
            results.append(found)
            rows.append(headlines)
    validation = Validation(tuple(results), overall(rows), spent.calls, spent.known, spent.encoded)
    write_validation(settings.out, validation)
    return validation


def _task(settings: Settings, recipes: Recipes, listener: ProgressListener, spent: _Spent) -> Validated:
    task, dataset = load_everybody(settings)
    examples = [example for user in dataset.users for example in real_examples(dataset, user)]
    plan = plan_asking(settings, task, examples, recipes.prompts)
    listener.heading(
        f"{task.name}: {len(dataset.users)} users, {len(examples)} queries, {plan.calls} LLM requests by "
        f"{len(recipes.prompts)} prompts, of which {plan.known} were answered before"
    )
    with listener.bars() as bars:
        line = bars.add_task("Asking the LLM", total=len(examples) * len(recipes.prompts), note="prompts")
        asked, usage = ask(settings, plan, lambda: bars.update(line, advance=1))
    spent.calls += usage.calls
    spent.known += usage.cached
    answers, seconds = dict[str, Sequence[HeldOutAnswer]](), dict[str, float]()
    gated = dict[str, Sequence[GatedAnswer]]()
    validated = Validated(task, dataset, asked, recipes.prompts, answers, gated, seconds)
    with listener.bars() as bars:
        for recipe in recipes.recipes:
            start = time.perf_counter()
            answers[recipe.name] = _recipe(recipe, validated, settings, bars, spent)
            gated[recipe.name] = gated_answers(task, answers[recipe.name], recipe.settings.gate)
            seconds[recipe.name] = time.perf_counter() - start
    return validated


def _recipe(
    recipe: TriedRecipe,
    validated: Validated,
    settings: Settings,
    bars: ProgressBars,
    spent: _Spent,
) -> list[HeldOutAnswer]:
    wanted, base = settings.evaluate, recipe.settings.base
    line = bars.add_task(recipe.name, total=wanted.folds * wanted.repeats, note="encoding")
    material = make_material(recipe, validated.task, validated.dataset, validated.asked)
    read = base.encoder
    encoder = TextsEncoder.load(read.name, read.max_tokens, read.computing, base.lexical)
    encoder.train_top_layers(read.trained_layers)

    def encoding(done: int, total: int) -> None:
        bars.update(line, note=f"{done} of {total} texts encoded")

    decisions = list(material.decisions)
    features, fresh = known_features(encoder.eval(), EncodingFolder(settings.encodings_dir), decisions, encoding)
    spent.encoded += fresh
    found = list[HeldOutAnswer]()
    bars.update(line, note="folds")
    for repeat in range(wanted.repeats):
        for fold in validate(recipe, material, features, repeat):
            found += fold
            bars.update(line, advance=1)
    return found
