"""Compares methods on one split: same queries, generator and seeds, with controls that make a gain believable."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from hydra_ray.evaluate.controls import best_candidate, majority, other_users, random_candidate
from hydra_ray.evaluate.local import LocalSteps
from hydra_ray.evaluate.results import Results, score_methods, write_results
from hydra_ray.learn.assembly import load_data, make_generator, make_prompter, make_recipe, open_cache
from hydra_ray.learn.engine import generator_running
from hydra_ray.learn.run import check_task, progress_bar
from hydra_ray.methods import METHODS, Method
from hydra_ray.models.base import ADAPTER, Base
from hydra_ray.records import Answer, Dataset, HydraError, Query, Usage, UserKey
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import GenerateError, Generator
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.store.users import UserStore
from hydra_ray.tasks import Task

# Queries answered at a time: enough to keep an endpoint busy, few enough to hold in memory.
_IN_FLIGHT = 128

CHOOSING_CONTROLS = ("majority-vote", "random-candidate", "best-candidate")
HEAD_CONTROLS = ("shared-head", "other-head")
CONTROLS = (*CHOOSING_CONTROLS, *HEAD_CONTROLS)


@dataclass(slots=True)
class Work:
    """What answering all queries by one method took."""

    usage: Usage = field(default_factory=Usage)
    failed: int = 0
    degraded: int = 0
    truncated: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain values; `llm_calls` counts those answered from the cache too."""
        return {
            "llm_calls": self.usage.calls + self.usage.cached,
            "cached": self.usage.cached,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "failed": self.failed,
            "degraded": self.degraded,
            "truncated": self.truncated,
            "seconds": round(self.seconds, 2),
        }


def evaluate(settings: Settings, console: Console) -> Results:
    """Runs the methods and controls, writes `results.json` and `predictions.jsonl` to `out`.

    Raises:
        HydraError: Unknown methods, no base, data without answers, or data of another task.
    """
    names = settings.evaluate.methods or tuple(METHODS)
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise HydraError(f"evaluate.methods: there is no {unknown}; there are {', '.join(METHODS)}")
    task, dataset = load_data(settings)
    queries = [query for user in dataset.users for query in user.queries if query.id in dataset.golds]
    if not queries:
        raise HydraError(f"data.split: {settings.data.split} has no queries with answers")
    base, store = None, None
    if any(name.startswith("hydra") for name in names):
        base = Base.load(settings.model_dir / "base")
        check_task(base.task, task)
        store = UserStore(settings.store_url)
        _warn_of_missing_heads(dataset, store, base.version, console)
    steps = LocalSteps(dataset, base, store, make_recipe(settings))
    with generator_running(settings):
        # Methods and controls share many requests, and greedy answers must not differ between them: the cache
        # is no luxury here.
        generator = make_generator(settings, open_cache(settings))
        ports = steps.ports(generator)
        methods = {name: METHODS[name](ports, make_prompter(settings, task), make_recipe(settings)) for name in names}
        answers, work = asyncio.run(_answer_all(methods, queries, dataset, settings.seed, generator, console))
    outputs = {name: {key: answer.text for key, answer in by_query.items()} for name, by_query in answers.items()}
    if "hydra" in answers:
        outputs |= choose_otherwise(answers["hydra"], dataset.golds, task, settings.seed)
    results = score_methods(
        task,
        settings.data.split,
        outputs,
        {query.id: dataset.golds[query.id] for query in queries},
        {query.id: query.user for query in queries},
        controls=CONTROLS,
        work={name: spent.to_json() for name, spent in work.items()},
        resamples=settings.evaluate.bootstrap,
        seed=settings.seed,
    )
    write_results(settings.out, results, outputs, {query.id: query.user for query in queries})
    if store is not None:
        store.close()
    return results


def choose_otherwise(
    answers: Mapping[str, Answer], golds: Mapping[str, str], task: Task, seed: int
) -> dict[str, dict[str, str]]:
    """What other ways to choose among the very same candidates answer."""
    controls: dict[str, dict[str, str]] = {name: {} for name in CHOOSING_CONTROLS}
    for key, answer in answers.items():
        controls["majority-vote"][key] = majority(answer.candidates)
        controls["random-candidate"][key] = random_candidate(answer.candidates, random.Random(stable_seed(seed, key)))
        controls["best-candidate"][key] = best_candidate(answer.candidates, golds[key], task)
    return controls


async def _answer_all(
    methods: Mapping[str, Method],
    queries: list[Query],
    dataset: Dataset,
    seed: int,
    generator: Generator,
    console: Console,
) -> tuple[dict[str, dict[str, Answer]], dict[str, Work]]:
    runs: dict[str, tuple[Method, Callable[[Query], UserKey | None]]] = {
        name: (method, lambda query: query.user) for name, method in methods.items()
    }
    if "hydra" in methods:
        others = other_users([user.key for user in dataset.users], seed)
        runs["shared-head"] = (methods["hydra"], lambda query: None)
        if others:
            runs["other-head"] = (methods["hydra"], lambda query: others[query.user])
    answers: dict[str, dict[str, Answer]] = {}
    work: dict[str, Work] = {}
    with progress_bar(console) as bar:
        for name, (method, head) in runs.items():
            line = bar.add_task(name, total=len(queries), note="")
            answers[name], work[name] = await _answer(
                method,
                queries,
                head,
                lambda line=line: bar.advance(line),  # type: ignore[misc]
            )
    await generator.close()
    return answers, work


async def _answer(
    method: Method, queries: list[Query], head: Callable[[Query], UserKey | None], advance: Callable[[], None]
) -> tuple[dict[str, Answer], Work]:
    """One method's answers; a query whose LLM call failed has none, and is counted."""
    slots, work, answers = asyncio.Semaphore(_IN_FLIGHT), Work(), dict[str, Answer]()
    start = time.perf_counter()

    async def one(query: Query) -> None:
        async with slots:
            try:
                answer = await method(query, head(query))
            except GenerateError:
                work.failed += 1
            else:
                answers[query.id] = answer
                work.usage += answer.usage
                work.degraded += bool(answer.degraded)
                work.truncated += answer.truncated
        advance()

    await asyncio.gather(*(one(query) for query in queries))
    work.seconds = time.perf_counter() - start
    return answers, work


def _warn_of_missing_heads(dataset: Dataset, store: UserStore, version: str, console: Console) -> None:
    fitted = set(store.users_with_head(version, ADAPTER))
    missing = sum(user.key not in fitted for user in dataset.users)
    if missing:
        console.print(
            f"[yellow]{missing} of {len(dataset.users)} users have no fitted head and get the shared one; "
            "`hydra-ray fit` gives them theirs.[/yellow]"
        )
