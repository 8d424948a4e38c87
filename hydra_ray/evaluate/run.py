"""Compares methods over tasks and training seeds.

All methods have the same queries, generator and feedback, and controls make a gain believable.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray

from hydra_ray.evaluate.reporting.files import write_result
from hydra_ray.evaluate.reporting.html import write_report
from hydra_ray.evaluate.reporting.predictions import write_predictions
from hydra_ray.evaluate.results import ComparisonResult
from hydra_ray.evaluate.runner.answer import Job, answer
from hydra_ray.evaluate.runner.experiments import Experiment, experiments, prepare
from hydra_ray.evaluate.runs import RunRecord, check_whole, read_run
from hydra_ray.evaluate.scoring.score import score_runs
from hydra_ray.logs import set_up_logging
from hydra_ray.methods import METHODS, needs_base, needs_reranker
from hydra_ray.progress import ProgressBars, ProgressListener
from hydra_ray.records import HydraError
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.runtime.vllm_app import generator_running
from hydra_ray.settings import Settings

log = logging.getLogger(__name__)


def evaluate(settings: Settings, listener: ProgressListener) -> ComparisonResult:
    """Run the methods and controls over all experiments; write results, report and run records to `out`.

    What a killed evaluation has finished is kept: bases, heads, LLM answers and each method's run record.

    Raises:
        HydraError: A method is unknown, the split is the one that a base was trained on, there is no base, or the data
            has no answers or is of another task.
        UnfinishedError: Not every query was answered; nothing is scored, and the next run asks just the rest.
    """
    wanted = settings.evaluate
    names = _chosen(settings)
    _check(settings, names)
    planned = list(experiments(settings))
    jobs = list(_jobs(planned, names, wanted.workers))
    together = cluster(settings.ray) if wanted.workers > 1 else contextlib.nullcontext()
    # One engine for all experiments: starting it takes minutes.
    with together, generator_running(settings):
        if any(map(needs_base, names)):
            for experiment in planned:
                if experiment.prepared:
                    task, users = experiment.settings.data.task, experiment.train_users or "all"
                    listener.heading(f"{task}, training seed {experiment.seed}, {users} users")
                    prepare(experiment, listener)
        with listener.bars() as bar:
            paths = _in_parallel(jobs, wanted.workers, bar) if wanted.workers > 1 else _here(jobs, bar)
    return score([read_run(path) for path in paths], settings)


def _chosen(settings: Settings) -> tuple[str, ...]:
    names = settings.evaluate.methods or tuple(METHODS)
    if settings.method.rerank:
        return names
    left_out = [name for name in names if needs_reranker(name)]
    if len(left_out) == len(names):
        raise HydraError(f"evaluate.methods: {', '.join(left_out)} needs a reranker: set method.rerank to true")
    for name in left_out:
        log.warning("%s is not compared, since there is no reranker (method.rerank is false)", name)
    return tuple(name for name in names if name not in left_out)


def _check(settings: Settings, names: Sequence[str]) -> None:
    for path, chosen in (("methods", names), ("baselines", settings.evaluate.baselines)):
        unknown = [name for name in chosen if name not in METHODS]
        if unknown:
            raise HydraError(f"evaluate.{path}: there is no {', '.join(unknown)}; there are {', '.join(METHODS)}")
    learnt = [name for name in settings.evaluate.baselines if needs_base(name)]
    if learnt:
        raise HydraError(f"evaluate.baselines: {', '.join(learnt)} is not prompt-based, hydra is not compared with it")
    trained = [name for name in names if needs_base(name)]
    if trained and settings.data.split == "train":
        raise HydraError(
            f"data.split: train is what the base learns from, with the answers: {', '.join(trained)} would only repeat "
            "them. Evaluate another split (data.split=dev), or name methods without a base (evaluate.methods)"
        )


def score(records: Sequence[RunRecord], settings: Settings) -> ComparisonResult:
    """Score run records and write results and report to `out`; no LLM is asked and no base is needed.

    Raises:
        HydraError: The run records do not fit together.
        UnfinishedError: Queries of a run are still to be asked.
    """
    check_whole(records)
    wanted = settings.evaluate
    result = score_runs(
        records, resamples=wanted.bootstrap, seed=settings.seed, baselines=wanted.baselines, folds=wanted.folds
    )
    write_result(settings.out, result)
    write_predictions(settings.out / "predictions.jsonl", records)
    write_report(settings.out, result)
    return result


def _jobs(planned: Sequence[Experiment], names: Sequence[str], workers: int) -> Iterator[Job]:
    """Yield the jobs, each answered in one process; methods that do not depend on training run once a task."""
    judged = tuple(name for name in names if needs_base(name))
    prompted = tuple(name for name in names if not needs_base(name))
    answered: set[str] = set()
    for experiment in planned:
        task = experiment.settings.data.task
        once = () if task in answered else prompted
        answered.add(task)
        if experiment.train_users is not None:
            groups: tuple[tuple[str, ...], ...] = (tuple(name for name in judged if name == "hydra"),)
        else:
            # Together they share what the LLM is asked, apart they share the work.
            groups = (once, judged) if workers > 1 else ((*once, *judged),)
        for group in groups:
            if group:
                yield Job(experiment, group, workers)


def _here(jobs: Sequence[Job], bar: ProgressBars) -> list[Path]:
    """Run one job after the other in this process."""
    paths = []
    for job in jobs:
        name = job.experiment.settings.data.task
        lines = {
            run: bar.add_task(f"{name}, seed {job.experiment.seed}: {run}", total=None, note="") for run in job.runs
        }

        def advance(run: str, total: int, lines: dict[str, Any] = lines, name: str = name) -> None:
            if run not in lines:
                lines[run] = bar.add_task(f"{name}: {run}", total=total, note="")
            bar.update(lines[run], advance=1, total=total)

        paths += answer(job, advance)
    return paths


def _in_parallel(jobs: Sequence[Job], workers: int, bar: ProgressBars) -> list[Path]:
    """Run as many jobs at once as settings allow, each a Ray task; a lost worker costs its job a retry."""
    line = bar.add_task("Answering", total=len(jobs), note="")
    # On this node: run records, base and the cache are files of it.
    answer_elsewhere = _answer_elsewhere.options(
        label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    )
    waiting, running, paths = list(enumerate(jobs)), dict[ray.ObjectRef, int](), dict[int, list[Path]]()
    while waiting or running:
        while waiting and len(running) < workers:
            place, job = waiting.pop(0)
            running[answer_elsewhere.remote(job)] = place
        for done in ray.wait(list(running), num_returns=1)[0]:
            place = running.pop(done)
            paths[place] = _result(done)
            bar.update(
                line, advance=1, note=f"{jobs[place].experiment.settings.data.task}: {', '.join(jobs[place].methods)}"
            )
    return [path for place in sorted(paths) for path in paths[place]]


def _result(done: ray.ObjectRef) -> list[Path]:
    try:
        found: list[Path] = ray.get(done)
    except HydraError as error:
        # Ray's wrapper adds the worker's traceback to the message.
        raise getattr(error, "cause", error) from None
    return found


@ray.remote(num_cpus=1)
def _answer_elsewhere(job: Job) -> list[Path]:
    set_up_logging(job.experiment.settings.logging)
    use_given_cpus()
    return answer(job, lambda run, total: None)
