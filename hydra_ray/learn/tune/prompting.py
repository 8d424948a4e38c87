"""Finds what to show the LLM: retriever and number of shots, within a budget of LLM calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from rich.markup import escape
from rich.table import Table

from hydra_ray.learn.collect.plan import Example, plan_examples
from hydra_ray.learn.tune.space import read_search
from hydra_ray.methods import Ports
from hydra_ray.methods.prompted import Prompted
from hydra_ray.progress import ProgressListener
from hydra_ray.records import Candidate, Choice, HydraError, Query, Ranked, UserKey
from hydra_ray.runtime.embedding import make_embedder
from hydra_ray.runtime.factory import make_prompter, make_recipe
from hydra_ray.runtime.generators import make_generator, open_cache
from hydra_ray.runtime.loading import chosen_users
from hydra_ray.runtime.vllm_app import generator_running
from hydra_ray.settings import RetrieverName, Settings
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.generate.failures import Failure, FailureLog, ask_each, by_kind, listed
from hydra_ray.steps.retrieval.retrievers import retriever
from hydra_ray.tasks import Task

_ALL = 1_000_000
# Queries asked at a time; the generator holds them back further.
_AT_ONCE = 128


class PromptSearch(BaseModel):
    """Ways to ask that are tried, as `tune_configs/asked.yaml` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calls: int = Field(600, ge=1, description="Most LLM calls; those that the cache answers count, too.")
    shots: tuple[int, ...] = Field((0, 1, 2, 4, 8), min_length=1)
    retrievers: tuple[RetrieverName, ...] = Field(("bm25", "recent"), min_length=1)


@dataclass(slots=True)
class PromptVariant:
    """One way to ask.

    Attributes:
        shots: History items shown.
        retriever: Name of the retriever that finds them.
        scores: Score of each query asked so far; 0 where the LLM refused it.
        unanswered: Number of queries that the LLM refused, by failure.
        out_at: Round in which it was given up; None for those that stayed.
    """

    shots: int
    retriever: str
    scores: list[float] = field(default_factory=list)
    out_at: int | None = None
    unanswered: Counter[Failure] = field(default_factory=Counter)

    @property
    def mean(self) -> float:
        """Mean score, 0 before any query."""
        return sum(self.scores) / len(self.scores) if self.scores else 0.0


def search_prompts(settings: Settings, path: Path, listener: ProgressListener) -> list[PromptVariant]:
    """Searches ways to ask on the chosen users' pseudo-queries by successive halving (Jamieson and Talwalkar, 2016).

    In each round all ways that are left are asked the same new queries, greedily, and the worse half is
    given up; rounds share the calls evenly.

    Args:
        settings: Name the users and the LLM.
        path: File of the search.
        listener: Shows how far the search is.

    Returns:
        The ways, best first: whoever stayed longer is better, then by mean score.

    Raises:
        HydraError: The data or generator cannot be used, or users have no history.
        SettingsError: The search's file is wrong.
        UnfinishedError: The LLM did not answer everything: ways are compared on the same queries or not at all.
    """
    search = read_search(path, PromptSearch)
    task, dataset = chosen_users(settings)
    examples = plan_examples(
        dataset, pseudo_queries=_ALL, use_golds=False, items=0, candidate_calls=0, max_calls=None, seed=settings.seed
    )
    if not examples:
        why = "have no history" if dataset.pairs else f"have histories of task {task.name} that hold no questions"
        raise HydraError(f"users: those of {settings.users} {why}; there is nothing to ask again")
    variants = _variants(search)
    with generator_running(settings), asyncio.Runner() as runner, listener.bars() as bar, ExitStack() as stack:
        generator = make_generator(settings, open_cache(settings))
        line = bar.add_task("Asking in several ways", total=search.calls, note=f"{len(variants)} ways")
        stack.callback(lambda: runner.run(generator.close()))
        log = FailureLog(settings.generator.max_failure_share)
        left, round_number, asked = list(variants), 1, 0
        rounds = max(1, len(variants) - 1).bit_length()
        while round_number <= rounds:
            count = max(1, search.calls // rounds // len(left))
            batch = examples[asked : asked + count]
            if not batch:
                break
            for variant in left:
                variant.scores += runner.run(_scores(variant, batch, generator, settings, task, log))
                bar.update(line, advance=len(batch))
                if log.stop:
                    break
            log.check("Nothing is compared yet. What was answered is kept.")
            asked += len(batch)
            left.sort(key=lambda variant: -variant.mean)
            for variant in left[-(-len(left) // 2) :]:
                variant.out_at = round_number
            left, round_number = left[: -(-len(left) // 2)], round_number + 1
    return sorted(variants, key=lambda variant: (-(variant.out_at or round_number), -variant.mean))


def prompt_table(variants: Sequence[PromptVariant]) -> Table:
    """Return a table of what each way scored, and on how many queries."""
    unanswered = sum((variant.unanswered for variant in variants), Counter[Failure]())
    table = Table("retriever", "shots", "mean score", "queries", "given up", title="Ways to ask, best first")
    if unanswered:
        table.add_column("not answered")
        table.caption = escape(f"Not answered, which counts as wrong: {listed(by_kind(unanswered))}.")
    for variant in variants:
        out = f"round {variant.out_at}" if variant.out_at else "-"
        counts = ", ".join(f"{one.count} {one.kind}" for one in by_kind(variant.unanswered))
        cells = [variant.retriever, str(variant.shots), f"{variant.mean:.3f}", str(len(variant.scores)), out]
        table.add_row(*cells, *([counts or "-"] if unanswered else []))
    return table


def _variants(search: PromptSearch) -> list[PromptVariant]:
    variants = [PromptVariant(shots, retriever) for retriever in search.retrievers for shots in search.shots if shots]
    # Without shots there is nothing to retrieve.
    return variants + [PromptVariant(0, search.retrievers[0])] * (0 in search.shots)


async def _scores(
    variant: PromptVariant,
    examples: Sequence[Example],
    generator: Generator,
    settings: Settings,
    task: Task,
    log: FailureLog,
) -> list[float]:
    """Return the examples' scores; what is unfinished has none, and `log` counts it."""
    # An item has the same id in the history of everybody who has it.
    histories = {(example.query.user, example.query.id): example.history for example in examples}
    embed = make_embedder(settings)

    async def retrieve(query: Query, k: int, by: str) -> list[Ranked]:
        return retriever(by, embed, recipe.stemmer)(query, histories[query.user, query.id], k)

    recipe = replace(make_recipe(settings), shots=variant.shots)
    ports = Ports(retrieve, _unused_rerank, generator, _unused_adapt)
    method = Prompted(ports, make_prompter(settings, task), recipe, variant.retriever)

    async def one(example: Example) -> float:
        return task.score((await method(example.query, None)).text, example.gold)

    found = await ask_each(examples, one, log, at_once=_AT_ONCE)
    refused = [one for one in found if isinstance(one, Failure) and one.final]
    variant.unanswered.update(refused)
    return [0.0] * len(refused) + [one for one in found if not isinstance(one, Failure)]


async def _unused_rerank(query: Query, ranked: Sequence[Ranked], head: UserKey | None) -> list[Ranked]:
    raise AssertionError("prompting reranks nothing")


async def _unused_adapt(
    query: Query, candidates: Sequence[Candidate], history_answers: Sequence[str], head: UserKey | None
) -> Choice:
    raise AssertionError("prompting adapts nothing")
