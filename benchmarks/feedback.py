"""Does collecting feedback keep the generator busy?

The same prompts are sent straight to the same generator, all at once from this process, and through the whole
collection: Ray Data pipeline, cache on disk, scoring, Parquet. Both sides run in turn, three times, on the same
machine; no answer is reused. Loading a model is in neither side's rate; the collection's time until its first question
is printed beside it.

    python benchmarks/feedback.py SETTINGS.yaml [KEY=VALUE ...] --queries 200

With `generator.backend: vllm` the engine is started once and used by both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from hydra_ray.learn.collect.job import planned_examples
from hydra_ray.learn.collect.pipeline import ask_all
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.report import CollectReport, record
from hydra_ray.learn.collect.setup import make_generator_pool, make_request_writer
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.records import ChatRequest
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.generators import make_backend
from hydra_ray.runtime.loading import chosen_users
from hydra_ray.runtime.vllm_app import engine_running
from hydra_ray.settings import Settings, load_settings
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.generate.cache import ask_key
from hydra_ray.steps.generate.failures import FailureLog
from hydra_ray.tasks import Task

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Side:
    """One side's run: seconds are from the first question to the last answer."""

    calls: int
    prompt_tokens: int
    seconds: float
    before_first: float = 0.0

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


async def straight(generator: Generator, requests: Sequence[ChatRequest]) -> Side:
    """Every request at once; the generator's own concurrency holds them back."""
    start = time.perf_counter()
    answers = await asyncio.gather(*(generator(request) for request in requests))
    seconds = time.perf_counter() - start
    return Side(len(answers), sum(answer.usage.prompt_tokens for answer in answers), seconds)


def collected(settings: Settings, task: Task, examples: Sequence[Example]) -> Side:
    """The same requests through a collection into an empty folder, with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        empty = settings.model_copy(update={"out": Path(folder)})
        start = time.time()
        answers = ask_all(examples, make_generator_pool(empty, task))
        store, log = FeedbackStore(empty.feedback_dir), FailureLog(settings.generator.max_failure_share)
        report = record(answers, store, CollectReport(), lambda _: None, log, None)
        if report.failed:
            raise SystemExit(f"calls failed, so the sides did different work: {report}")
    return Side(report.usage.calls, report.usage.prompt_tokens, report.ended - report.began, report.began - start)


def main() -> None:
    """Measures, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", type=Path, default=Path("runs/benchmarks/feedback.json"))
    arguments = parser.parse_args()
    settings = load_settings(arguments.settings, arguments.overrides)
    settings = settings.model_copy(update={"generator": settings.generator.model_copy(update={"cache": None})})
    task, dataset = chosen_users(settings)
    examples = planned_examples(settings, task, dataset)[: arguments.queries]
    questions = make_request_writer(settings, task)
    by_key = {ask_key("", request): request for example in examples for request in questions(example).requests}
    requests = list(by_key.values())

    sides: dict[str, list[Side]] = {"straight": [], "collection": []}
    with cluster(settings.ray), engine_running(settings.generator):
        for _ in range(ROUNDS):
            generator = make_backend(settings)
            # The first request loads kernels and opens connections.
            asyncio.run(straight(generator, requests[:4]))
            sides["straight"].append(asyncio.run(straight(make_backend(settings), requests)))
            sides["collection"].append(collected(settings, task, examples))

    console = Console()
    g = settings.generator
    table = Table(
        "", "calls", "tokens in", "seconds", "calls/s", "s before the first call", title=f"{g.backend} {g.model}"
    )
    for name, runs in sides.items():
        for run in runs:
            table.add_row(
                name,
                str(run.calls),
                str(run.prompt_tokens),
                f"{run.seconds:.1f}",
                f"{run.rate:.1f}",
                f"{run.before_first:.1f}",
            )
    console.print(table)
    rate = {name: median(run.rate for run in runs) for name, runs in sides.items()}
    ratio = rate["collection"] / rate["straight"]
    console.print(
        f"collection / straight: {ratio:.3f} of the calls a second ({len(examples)} queries, {ROUNDS} rounds)"
    )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "schema": "hydra-ray/benchmark/feedback/v1",
        "backend": g.backend,
        "model": Path(g.model).name,
        "concurrency": g.concurrency,
        "queries": len(examples),
        "sides": {name: [asdict(run) for run in runs] for name, runs in sides.items()},
        "ratio": ratio,
    }
    arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
